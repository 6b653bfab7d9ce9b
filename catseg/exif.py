"""The EXIF orientation of images: how stored rows and columns are turned for an image to be upright."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

_TRANSPOSED = (5, 6, 7, 8)  # orientations that make rows of columns
_INVERSE = {6: 8, 8: 6}  # of the other orientations, each is its own


def exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1..8; 1, which is upright, if it has none or one that cannot be read.

    Pillow turns TIFF files when it decodes them, which makes it 1.
    """
    try:
        return orientation_of(image.getexif())
    except Exception:  # damaged EXIF data raise exceptions of many kinds, and the pixels are fine
        return 1


def orientation_of(tags: Mapping[int, Any]) -> int:
    """Return the orientation that EXIF or TIFF tags hold, 1..8; 1 if they hold none or another value."""
    orientation = tags.get(ExifTags.Base.Orientation, 1)
    return int(orientation) if orientation in range(1, 9) else 1


def turned_by_decoding(image: Image.Image) -> int:
    """Return the orientation by which decoding turns an image that is not decoded yet; 1 for all but TIFF files."""
    return exif_orientation(image) if isinstance(image, TiffImagePlugin.TiffImageFile) else 1


def turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn stored pixels (H, W) or (H, W, C) upright."""
    if orientation in _TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def turn_back(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn upright pixels as they are stored: the inverse of `turn`."""
    return turn(pixels, _INVERSE.get(orientation, orientation))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return the rows and columns that an image has when it is upright; it need not be decoded."""
    already = isinstance(image, TiffImagePlugin.TiffImageFile)
    turned = exif_orientation(image) in _TRANSPOSED and not already
    return (image.width, image.height) if turned else (image.height, image.width)
