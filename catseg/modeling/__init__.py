"""The network, registered with Detectron2 on import."""

from catseg.modeling import aggregation, backbones
from catseg.modeling.meta_arch import CATSeg
from catseg.modeling.training_free.segmenter import TrainingFreeSegmenter

__all__ = ["CATSeg", "TrainingFreeSegmenter", "aggregation", "backbones"]
