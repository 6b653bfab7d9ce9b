"""Preparation of images for inference, as Detectron2's test mapper does it."""

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.detection_utils import build_augmentation
from numpy.typing import NDArray

from catseg.errors import InputError


def inference_resize(cfg: CfgNode) -> T.AugmentationList:
    """Build Detectron2's resizing of test images: `ResizeShortestEdge` with Pillow's bilinear filter.

    Args:
        cfg: read are INPUT.MIN_SIZE_TEST, the length of the shorter side in pixels (0 leaves images at their own size),
            and INPUT.MAX_SIZE_TEST, the limit on the longer side, which has precedence.

    Raises:
        ValueError: if INPUT.FORMAT is not RGB.
    """
    check_format(cfg)
    return T.AugmentationList(build_augmentation(cfg, is_train=False))


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
    try:
        resize(augmented)
    except ValueError as error:  # Pillow refuses to make an image without rows or columns
        height, width = image.shape[:2]
        raise InputError(
            f"an image of {width} x {height} pixels is too narrow: with a longer side of INPUT.MAX_SIZE_TEST pixels, "
            f"its shorter side vanishes ({error})"
        ) from error
    pixels = np.array(augmented.image)  # a copy, since the input may be read-only, which torch does not know
    return {"image": torch.from_numpy(pixels).permute(2, 0, 1), "height": image.shape[0], "width": image.shape[1]}
