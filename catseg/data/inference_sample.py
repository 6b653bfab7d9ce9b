"""Preparation of images for inference, as Detectron2's test mapper does it."""

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from numpy.typing import NDArray

from catseg.config_checks import check_at_least
from catseg.data.augmentation import ResizeShortestEdge
from catseg.errors import InputError


def inference_resize(cfg: CfgNode) -> T.AugmentationList:
    """Build Detectron2's resizing of test images: `ResizeShortestEdge` with Pillow's bilinear filter.

    Args:
        cfg: read are INPUT.MIN_SIZE_TEST, the length of the shorter side in pixels (0 leaves images at their own size),
            and INPUT.MAX_SIZE_TEST, the limit on the longer side, which has precedence.

    Raises:
        ValueError: if INPUT.FORMAT is not RGB, or a size is too low.
    """
    check_format(cfg)
    check_at_least(0, {"INPUT.MIN_SIZE_TEST": cfg.INPUT.MIN_SIZE_TEST})
    check_at_least(1, {"INPUT.MAX_SIZE_TEST": cfg.INPUT.MAX_SIZE_TEST})
    return T.AugmentationList([ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)])


def check_format(cfg: CfgNode) -> None:
    """Check that INPUT.FORMAT is RGB, the order of channels of all images here.

    Raises:
        ValueError: if it is another one.
    """
    if cfg.INPUT.FORMAT != "RGB":
        raise InputError(f"INPUT.FORMAT must be RGB, which the pixel means are for, got {cfg.INPUT.FORMAT!r}")


def inference_sample(image: NDArray[np.uint8], resize: T.AugmentationList) -> dict[str, Any]:
    """Make what the model takes in inference of an image.

    Args:
        image: RGB 0..255, (H, W, 3), upright.
        resize: of `inference_resize`.

    Returns:
        `image`: the resized image, uint8 (3, h, w); `height` and `width`: H and W, the size of the result.

    Raises:
        ValueError: if the image is so narrow that resizing would leave nothing of it.
    """
    augmented = T.AugInput(image)
    resize(augmented)
    pixels = np.array(augmented.image)  # a copy, since the input may be read-only, which torch does not know
    return {"image": torch.from_numpy(pixels).permute(2, 0, 1), "height": image.shape[0], "width": image.shape[1]}
