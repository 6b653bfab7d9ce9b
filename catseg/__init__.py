"""CAT-Seg: open-vocabulary semantic segmentation by cost aggregation, as a Detectron2 project.

Importing the package registers the network with Detectron2.
"""

from catseg import modeling

__version__ = "0.1.0"
__all__ = ["modeling"]
