"""Preparation of images for inference, as Detectron2's test mapper does it."""

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.detection_utils import build_augmentation
from numpy.typing import NDArray


def inference_resize(cfg: CfgNode) -> T.AugmentationList:
    """Build Detectron2's resizing of test images: `ResizeShortestEdge` with Pillow's bilinear filter.

    Args:
        cfg: read are INPUT.MIN_SIZE_TEST, the length of the shorter side in pixels (0 leaves images at their own size),
            and INPUT.MAX_SIZE_TEST, the limit on the longer side, which has precedence.
    """
    return T.AugmentationList(build_augmentation(cfg, is_train=False))


def inference_sample(image: NDArray[np.uint8], resize: T.AugmentationList) -> dict[str, Any]:
    """Make what the model takes in inference of an image.

    Args:
        image: RGB 0..255, (H, W, 3), upright.
        resize: of `inference_resize`.

    Returns:
        `image`: the resized image, uint8 (3, h, w); `height` and `width`: H and W, the size of the result.
    """
    augmented = T.AugInput(image)
    resize(augmented)
    pixels = np.array(augmented.image)  # a copy, since the input may be read-only, which torch does not know
    return {"image": torch.from_numpy(pixels).permute(2, 0, 1), "height": image.shape[0], "width": image.shape[1]}
