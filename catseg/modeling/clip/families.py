"""The families of image encoders that dense features can be read off: one line each."""

from typing import Any

from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer

from catseg.modeling.clip.eva_encoder import EvaImageEncoder
from catseg.modeling.clip.image_encoder import DenseImageEncoder

# What open_clip builds -> how it is read.
FAMILIES: dict[type, type[DenseImageEncoder]] = {VisionTransformer: DenseImageEncoder, TimmModel: EvaImageEncoder}


def dense_image_encoder(visual: Any, **options: Any) -> DenseImageEncoder:
    """Make the encoder of the family that an image encoder is of.

    Args:
        visual: of an open_clip model.
        options: attributes of `DenseImageEncoder`.

    Raises:
        ValueError: if it is of none.
    """
    return FAMILIES[type(visual)](visual=visual, **options)
