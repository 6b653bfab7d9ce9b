"""Backbones that give CAT-Seg its guidance maps, registered with Detectron2 on import."""

from catseg.modeling.backbones.swin import D2SwinTransformer

__all__ = ["D2SwinTransformer"]
