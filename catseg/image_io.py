"""Reading images of every common kind as RGB arrays of bytes."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from catseg.errors import InputError
from catseg.exif import exif_orientation, turn, turn_back, turned_by_decoding
from catseg.image_files import UnsuitableImageError, read_file
from catseg.stored_values import (
    decoded_by_opencv,
    has_white_as_0,
    is_deep_colour,
    stored_values,
    stretched_to_8_bits,
    white_of,
)
from catseg.tiff import is_tiff, tiff_has_white_as_0, tiff_orientation

_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_WHITE_OF_16_BITS = 65535
_SIGNED_8_BIT = 127  # white of such files, which Pillow reads as unsigned


def read_image(source: str | Path | bytes, *, upright: bool = True) -> NDArray[np.uint8]:
    """Read an image file as RGB, as image viewers show it but for colour profiles, which are ignored as in Detectron2.

    Grey, palette, CMYK and YCbCr images become RGB; more than 8 bits are scaled to 8 by the range of their type, and
    floating-point numbers from 0..1; transparent parts become white; of an animation the first frame is taken.

    Args:
        source: a file in any format that Pillow reads, or a TIFF or BMP file that OpenCV reads; or its content.
        upright: whether to turn the image as its EXIF orientation says, for the eye; else rows and columns are those
            that the file stores.

    Returns:
        RGB 0..255, (H, W, 3).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no image, is damaged, has floating-point numbers outside 0..1, or is so large that
            decoding it looks like an attack (`PIL.Image.MAX_IMAGE_PIXELS`, times two).
        OSError: if the file cannot be opened.
    """
    return read_file(source, partial(pil_to_rgb, upright=upright), otherwise=partial(_odd_file_to_rgb, upright=upright))


def to_rgb(image: Image.Image | NDArray[Any] | torch.Tensor) -> NDArray[np.uint8]:
    """Turn an image in memory into an RGB array.

    Args:
        image: one of
            - a PIL image of any mode, which is turned upright as its EXIF orientation says;
            - an array of shape (H, W, 3) in RGB order, (H, W, 4) with opacity, (H, W) or (H, W, 1) in grey, of uint8,
              uint16 (white is 65535), bool, or floating-point numbers 0..1;
            - a tensor of these types of shape (3, H, W), RGB, (4, H, W) or (1, H, W).

    Returns:
        RGB 0..255, (H, W, 3).

    Raises:
        ValueError: if `image` is none of these, or empty.
    """
    if isinstance(image, Image.Image):
        return pil_to_rgb(image)
    if isinstance(image, torch.Tensor):
        if image.ndim != 3 or image.shape[0] not in (1, 3, 4) or not image.numel():
            raise InputError(
                f"expected an RGB tensor (3, H, W), or (1, H, W) or (4, H, W), "
                f"got {tuple(image.shape)} of {image.dtype}; the images of a batch are given one by one"
            )
        values = image.permute(1, 2, 0).detach().cpu()
        return to_rgb((values.float() if values.dtype == torch.bfloat16 else values).numpy())
    if not isinstance(image, np.ndarray):
        raise InputError(f"expected a path, a PIL image, an array or a tensor, got {type(image).__name__}")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))) or not image.size:
        raise InputError(f"expected an RGB array (H, W, 3) or grey (H, W), got {image.shape} of {image.dtype}")
    if image.dtype not in (np.uint8, np.uint16, np.bool_) and not np.issubdtype(image.dtype, np.floating):
        raise InputError(
            f"expected an array of uint8, uint16, bool or floating-point numbers 0..1, got {image.dtype}: "
            "if its values are 0..255, image.astype(numpy.uint8) will do"
        )
    return _array_to_rgb(image)


def pil_to_rgb(image: Image.Image, *, upright: bool = True) -> NDArray[np.uint8]:
    """Turn a PIL image of any mode into RGB, as `read_image` describes.

    Args:
        image: a PIL image, which is decoded if it was not yet.
        upright: as in `read_image`.

    Returns:
        RGB 0..255, (H, W, 3).

    Raises:
        ValueError: if the image is empty, its numbers have no known white, or its mode has no conversion to RGB.
    """
    if not image.width or not image.height:
        raise UnsuitableImageError(f"the image is empty: {image.width} x {image.height} pixels")
    turned = turned_by_decoding(image)
    deep = image.mode in _DEEP_GREY or white_of(image) == _SIGNED_8_BIT
    stored = _deep_grey_to_rgb(image) if deep else turn_back(_shallow_to_rgb(image), turned)
    if not upright:
        return stored
    return turn(stored, turned if turned != 1 else exif_orientation(image))


def _shallow_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert an image of which Pillow has 8 bits per channel."""
    transparent = image.info.get("transparency")
    # Pillow compares these as the file has them with pixels as it has stretched or cut them.
    if isinstance(transparent, int) and image.mode == "L":
        image.info["transparency"] = stretched_to_8_bits(image, transparent)
    elif isinstance(transparent, tuple) and is_deep_colour(image):
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    if image.mode == "La":  # which Pillow converts to nothing but LA
        image = image.convert("LA")
    if image.has_transparency_data:
        colors = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colors.size, "white"), colors)
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _deep_grey_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a grey image of more than 8 bits, or of floating-point numbers, with the rows and columns of the file."""
    white, inverted, transparent = white_of(image), has_white_as_0(image), image.info.get("transparency")
    values = stored_values(image)
    if white is None and image.mode == "I" and values.max() > _WHITE_OF_16_BITS:
        raise UnsuitableImageError(
            f"expected 16-bit grey values 0..65535, got {values.min()}..{values.max()}: convert it to 8 or 16 bits"
        )
    rgb = _array_to_rgb(values, white=white)
    if inverted:
        rgb = 255 - rgb
    if isinstance(transparent, int):
        rgb[values == transparent] = 255
    return rgb


def _odd_file_to_rgb(content: bytes, *, upright: bool) -> NDArray[np.uint8] | None:
    """Convert a TIFF or BMP file of a kind that Pillow does not read, such as one of several channels of 32 bits."""
    if not (is_tiff(content) or content.startswith(b"BM")):
        return None
    values = decoded_by_opencv(content)
    if values.ndim == 3 and values.shape[2] not in (1, 3, 4):
        raise UnsuitableImageError(f"expected 1, 3 or 4 channels, got {values.shape[2]}: convert it to RGB")
    rgb = _array_to_rgb(values)
    if not is_tiff(content):
        return rgb
    if tiff_has_white_as_0(content) and values.dtype != np.uint8:  # those, OpenCV inverts itself
        rgb = 255 - rgb
    return turn(rgb, tiff_orientation(content)) if upright else rgb


def _array_to_rgb(values: NDArray[Any], *, white: float | None = None) -> NDArray[np.uint8]:
    """Convert an array (H, W) or (H, W, 1, 3 or 4) of numbers 0..white, by default 1 or the largest of the type."""
    scaled = _to_8_bit(values, white)
    if scaled.ndim == 2 or scaled.shape[2] == 1:
        scaled = np.stack([scaled.reshape(scaled.shape[:2])] * 3, axis=-1)
    if scaled.shape[2] == 4:
        return _shallow_to_rgb(Image.fromarray(np.ascontiguousarray(scaled)))
    return np.ascontiguousarray(scaled)


def _to_8_bit(values: NDArray[Any], white: float | None) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    floating = np.issubdtype(values.dtype, np.floating)
    if values.dtype.itemsize >= 4 and not floating and values.max() <= _WHITE_OF_16_BITS:
        white = _WHITE_OF_16_BITS  # 16-bit numbers in a wider type, which is what Pillow makes of some 16-bit files
    if white is None:
        white = 1.0 if floating else np.iinfo(values.dtype).max
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # NaN is neither
        fix = "such images have no fixed white: convert it to 8 or 16 bits" if floating else "convert it to 8 bits"
        raise UnsuitableImageError(f"expected {values.dtype} values 0..{white:g}, got {low}..{high}; {fix}")
    return (values * (255.0 / white) + 0.5).astype(np.uint8)
