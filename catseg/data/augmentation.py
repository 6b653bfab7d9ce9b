"""Augmentation of training images in the published order: resize, crop, colour, flip, pad."""

from collections.abc import Sequence

import numpy as np
from detectron2.data import transforms as T
from detectron2.projects.point_rend import ColorAugSSDTransform
from fvcore.transforms.transform import PadTransform, Transform

from catseg.config_checks import check_at_least, check_sizes
from catseg.errors import InputError

PAD_VALUE = 128  # of images, 0..255


class ResizeShortestEdge(T.ResizeShortestEdge):
    """Detectron2's, with an error that a user understands for an image of which nothing would be left."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Return the resizing of an image (H, W) or (H, W, C).

        Raises:
            ValueError: if the shorter side would have no pixel.
        """
        transform = super().get_transform(image)
        if isinstance(transform, T.ResizeTransform) and min(transform.new_h, transform.new_w) < 1:
            raise InputError(
                f"an image of {image.shape[1]} x {image.shape[0]} pixels is too narrow: with a longer side of "
                f"{self.max_size} pixels (INPUT.MAX_SIZE_TRAIN, INPUT.MAX_SIZE_TEST) its shorter side vanishes"
            )
        return transform


class PadToSize(T.Augmentation):
    """Pads image and label map at the right and at the bottom. Detectron2 0.6 has none that pads labels with a value.

    Args:
        size: height and width in pixels that the result has at least.
        label_value: what label maps are padded with.
    """

    def __init__(self, *, size: tuple[int, int], label_value: int) -> None:
        super().__init__()
        self.size = size
        self.label_value = label_value

    def get_transform(self, image: np.ndarray) -> PadTransform:
        """Return the padding of an image (H, W) or (H, W, C)."""
        height, width = image.shape[:2]
        bottom, right = max(0, self.size[0] - height), max(0, self.size[1] - width)
        return PadTransform(0, 0, right, bottom, width, height, PAD_VALUE, self.label_value)


def build_train_augmentations(
    *,
    min_sizes: Sequence[int],
    max_size: int,
    min_size_sampling: str,
    crop_size: tuple[int, int] | None,
    single_category_max_area: float,
    color: bool,
    flip: str,
    ignore_label: int,
) -> list[T.Augmentation | T.Transform]:
    """Build the augmentations of training, Detectron2's own wherever it has one.

    Args:
        min_sizes: lengths in pixels that the shorter side is resized to, 0 for its own.
        max_size: limit in pixels on the longer side, which has precedence.
        min_size_sampling: "choice" draws one of `min_sizes`; "range" takes two as the ends of a range.
        crop_size: height and width of the samples in whole pixels. Smaller images are padded with `PAD_VALUE`, their
            labels with `ignore_label`. With None samples are whole images.
        single_category_max_area: largest share of a crop's labelled pixels that one class may have, 0..1, where ten
            tries find such a crop. 1 takes any.
        color: jitter brightness, contrast, saturation and hue as SSD does (arXiv 1512.02325). For RGB images.
        flip: "horizontal" or "vertical", half of the time; "none".
        ignore_label: label value of pixels without class.

    Returns:
        Augmentations of image and label map, in order.

    Raises:
        ValueError: if an argument is not as described.
    """
    _check_sampling(min_sizes, min_size_sampling)
    check_at_least(1, {"INPUT.MAX_SIZE_TRAIN": max_size})
    if not 0 <= single_category_max_area <= 1:
        raise InputError(
            f"INPUT.CROP.SINGLE_CATEGORY_MAX_AREA is {single_category_max_area}, expected a share of a crop, 0 to 1"
        )
    if flip not in ("horizontal", "vertical", "none"):
        raise InputError(f"INPUT.RANDOM_FLIP is 'horizontal', 'vertical' or 'none', got {flip!r}")
    augmentations: list[T.Augmentation | T.Transform] = [
        ResizeShortestEdge(tuple(min_sizes), max_size, min_size_sampling)
    ]
    if crop_size is not None:
        crop_size = _whole_pixels(crop_size)
        augmentations.append(
            T.RandomCrop_CategoryAreaConstraint("absolute", crop_size, single_category_max_area, ignore_label)
        )
    if color:
        augmentations.append(ColorAugSSDTransform("RGB"))
    if flip != "none":
        augmentations.append(T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical"))
    if crop_size is not None:
        augmentations.append(PadToSize(size=crop_size, label_value=ignore_label))
    return augmentations


def _check_sampling(min_sizes: Sequence[int], sampling: str) -> None:
    check_at_least(0, {"INPUT.MIN_SIZE_TRAIN": min_sizes})
    is_range = sampling == "range" and len(min_sizes) == 2 and min_sizes[0] <= min_sizes[1]
    if not is_range and not (sampling == "choice" and min_sizes):
        raise InputError(
            "INPUT.MIN_SIZE_TRAIN_SAMPLING is 'choice' of the sizes in INPUT.MIN_SIZE_TRAIN, or 'range' with two of "
            f"them, the lower one first, got {sampling!r} and {tuple(min_sizes)}"
        )


def _whole_pixels(crop_size: Sequence[float]) -> tuple[int, int]:
    check_sizes({"INPUT.CROP.SIZE": crop_size})
    if len(crop_size) != 2 or any(side != int(side) for side in crop_size):
        raise InputError(f"INPUT.CROP.SIZE is {list(crop_size)}, expected height and width in whole pixels")
    height, width = crop_size
    return int(height), int(width)
