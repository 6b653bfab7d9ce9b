"""Shared parts of all drawings: background, sizes, and layout."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from catseg.visualization.text import Color, draw_text, readable, shorten

PAPER: Color = (255, 255, 255)
INK: Color = (33, 37, 41)
FAINT_INK: Color = (120, 126, 133)

_MIN_SIDE = 512
_WIDE = 1.9


def check_pair(image: NDArray, values: NDArray) -> tuple[NDArray[np.uint8], NDArray]:
    """Check that an RGB image and a map of one value per pixel fit together.

    Args:
        image: uint8, (H, W, 3).
        values: (H, W).

    Returns:
        The two, as arrays.

    Raises:
        ValueError: if types or shapes are not these, or if the image is empty.
    """
    image, values = np.asarray(image), np.asarray(values)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"expected an RGB image (H, W, 3) of uint8, got {image.shape} of {image.dtype}")
    if values.shape != image.shape[:2]:
        raise ValueError(f"the map is {values.shape}, the image {image.shape[:2]}: rows and columns must be equal")
    return image, values


def enlargement(shape: tuple[int, ...]) -> int:
    """Return the whole factor that brings the longer side of (height, width, ...) to 512 pixels or more."""
    return -(-_MIN_SIDE // max(shape[:2]))


def enlarge(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarge a small RGB image by its `enlargement`, smoothly, so that text fits in; leave a large one as it is."""
    factor = enlargement(image.shape)
    if factor == 1:
        return image
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)


def font_size(shape: tuple[int, ...]) -> int:
    """Return the base font size in pixels for an image of shape (height, width, ...)."""
    return max(12, round(0.022 * float(np.sqrt(shape[0] * shape[1]))))


def is_wide(shape: tuple[int, ...]) -> bool:
    """Tell whether an image of shape (height, width, ...) is so wide that more goes below it, not beside it."""
    return shape[1] >= _WIDE * shape[0]


def join(images: Sequence[NDArray[np.uint8]], axis: int, gap: int = 0) -> NDArray[np.uint8]:
    """Put RGB images below (axis 0) or beside (axis 1) one another, on white, `gap` pixels apart."""
    sizes = np.array([image.shape[:2] for image in images])
    shape = sizes.max(axis=0)
    shape[axis] = sizes[:, axis].sum() + gap * (len(images) - 1)
    canvas = np.full((*shape, 3), PAPER, dtype=np.uint8)
    start = 0
    for image in images:
        top, left = (start, 0) if axis == 0 else (0, start)
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        start += image.shape[axis] + gap
    return canvas


def add_title(image: NDArray[np.uint8], title: str, size: int) -> NDArray[np.uint8]:
    """Write a title of font size `size` above an RGB image."""
    canvas = Image.new("RGB", (image.shape[1], 2 * size), PAPER)
    text = shorten(readable(title, ""), size, image.shape[1] - 0.5 * size, bold=True)
    draw_text(ImageDraw.Draw(canvas), 0.25 * size, size, text, size, INK, bold=True)
    return join([np.asarray(canvas), image], axis=0)


def side_by_side(images: Sequence[NDArray[np.uint8]], titles: Sequence[str]) -> NDArray[np.uint8]:
    """Show RGB images of one image beside one another, or below one another if the first is wide.

    Args:
        images: RGB 0..255, (H, W, 3) each; at least one. Small ones are enlarged as `overlay` does.
        titles: written above each.

    Returns:
        RGB 0..255.

    Raises:
        ValueError: if there is no image, or not one title for each.
    """
    if not images or len(images) != len(titles):
        raise ValueError(f"expected images with a title each, got {len(images)} images and {len(titles)} titles")
    large = [enlarge(image) for image in images]
    size = font_size(large[0].shape)
    titled = [add_title(image, title, size) for image, title in zip(large, titles, strict=True)]
    return join(titled, axis=0 if is_wide(large[0].shape) else 1, gap=size)
