"""Backbones that give CAT-Seg its guidance maps, registered with Detectron2 on import."""

from catseg.modeling.backbones.cvt import CvT
from catseg.modeling.backbones.mpvit import MPViT
from catseg.modeling.backbones.swin import D2SwinTransformer
from catseg.modeling.backbones.timm_backbone import TimmBackbone
from catseg.modeling.backbones.twins import TwinsPCPVT, TwinsSVT
from catseg.modeling.backbones.van import VAN
from catseg.modeling.backbones.vit_adapter import ViTAdapter

__all__ = ["VAN", "CvT", "D2SwinTransformer", "MPViT", "TimmBackbone", "TwinsPCPVT", "TwinsSVT", "ViTAdapter"]
