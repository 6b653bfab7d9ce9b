"""The cost-aggregation head, registered with Detectron2 on import."""

from catseg.modeling.aggregation.head import CATSegHead

__all__ = ["CATSegHead"]
