"""Masks of COCO's segmentations: polygons, and run lengths (RLE) as lists or as strings.

Run lengths are decoded here, since pycocotools returns whatever lies in memory for those that are too short, and it
exhausts the memory for corners that are no numbers or far away.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle_masks

from catseg.errors import InputError

_FEWEST_NUMBERS = 6  # of a polygon: x and y of three corners
_FAR = 10  # image sizes outside the image, where no polygon has a corner


def is_empty(segmentation: Any) -> bool:
    """Tell whether a segmentation has neither run lengths nor a polygon of three corners or more."""
    if isinstance(segmentation, Mapping):
        return "counts" not in segmentation
    return not any(len(polygon) >= _FEWEST_NUMBERS for polygon in _polygons(segmentation))


def segmentation_mask(segmentation: Any, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Make the mask of a segmentation.

    Args:
        segmentation: a list of polygons x, y, x, y, ..., or one such polygon; or a mapping with "size", rows and
            columns, and "counts", the lengths of runs of 0 and 1 in turn, column by column, as a list or in COCO's
            compressed form. Polygons of fewer than three corners hold no pixel.
        size: rows and columns of the image.
        where: of which image and file it is, for messages.

    Returns:
        (H, W).

    Raises:
        ValueError: if it is none of these, or does not fit the image.
    """
    try:
        if isinstance(segmentation, Mapping):
            return _mask_of_runs(segmentation, size)
        polygons = [_checked(polygon, size) for polygon in _polygons(segmentation) if len(polygon) >= _FEWEST_NUMBERS]
        return rle_masks.decode(rle_masks.merge(rle_masks.frPyObjects(polygons, *size))).astype(bool)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"a segmentation of {where} cannot be read: {error}") from error


def _polygons(segmentation: Any) -> list[list[Any]]:
    if not isinstance(segmentation, list):
        return []
    if segmentation and all(isinstance(value, int | float) for value in segmentation):
        return [segmentation]
    return [polygon for polygon in segmentation if isinstance(polygon, list)]


def _checked(polygon: list[Any], size: tuple[int, int]) -> list[float]:
    if len(polygon) % 2 or not all(isinstance(value, int | float) and math.isfinite(value) for value in polygon):
        raise InputError(f"a polygon must be x and y of each corner, numbers all of them, got {str(polygon)[:60]}")
    if max(map(abs, polygon)) > _FAR * max(size):
        raise InputError(
            f"a polygon has a corner at {max(polygon, key=abs):g}, the image is of {size[1]} x {size[0]} pixels"
        )
    return [float(value) for value in polygon]


def _mask_of_runs(segmentation: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = (int(length) for length in segmentation["size"])
    if (height, width) != size:
        raise InputError(f"it is of {width} x {height} pixels, the image of {size[1]} x {size[0]}")
    counts = segmentation["counts"]
    runs = np.array(counts) if isinstance(counts, list) else _decompressed(counts)
    if runs.dtype.kind not in "iu" or (runs < 0).any() or runs.sum() != height * width:
        raise InputError(f"its run lengths must be whole numbers that add up to {height * width}, the image's pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _decompressed(counts: str | bytes) -> NDArray[np.int64]:
    """Return the run lengths of COCO's compressed form, as its maskApi.c has it.

    Numbers are characters of 5 bits each from "0" on, the lowest first; the sixth bit says that more follow, and the
    fifth of the last one is the sign. From the fourth on they are differences to the number before the last.
    """
    codes = np.frombuffer(counts.encode() if isinstance(counts, str) else counts, dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 0x20) == 0)
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or ends[-1:] != len(codes) - 1:
        raise InputError("its run lengths are not in COCO's compressed form")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:  # 35 bits
        raise InputError("its run lengths are larger than any image")
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & 0x1F) << 5 * places, starts)
    runs -= np.where(codes[ends] & 0x10, 1 << 5 * lengths, 0)
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    return runs
