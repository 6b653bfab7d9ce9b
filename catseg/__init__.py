"""CAT-Seg: open-vocabulary semantic segmentation by cost aggregation, as a Detectron2 project."""

__version__ = "0.1.0"
