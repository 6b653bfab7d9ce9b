"""The network, registered with Detectron2 on import."""

from catseg.modeling import aggregation, backbones
from catseg.modeling.meta_arch import CATSeg

__all__ = ["CATSeg", "aggregation", "backbones"]
