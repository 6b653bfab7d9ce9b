"""Reading photographs of any common kind as RGB arrays of bytes."""

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

_GREY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_image(path: str | Path, *, upright: bool = True) -> NDArray[np.uint8]:
    """Read an image file as RGB.

    Grey, palette and CMYK images become RGB, 16-bit grey is scaled to 8 bits, transparent parts become white, and of
    an animation the first frame is taken.

    Args:
        path: a file in any format that Pillow reads.
        upright: whether to turn the image as its EXIF orientation says, for the eye; else rows and columns are those of
            the file, which is what label maps of data sets are drawn on.

    Returns:
        RGB 0..255, (H, W, 3).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no image, is damaged, or is so large that decoding it looks like an attack
            (`PIL.Image.MAX_IMAGE_PIXELS`, times two).
        OSError: if the file cannot be opened.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no image file {path}")
    if not path.is_file():
        raise ValueError(f"expected an image file, got the folder or special file {path}")
    with path.open("rb") as file:  # apart from decoding, so that "permission denied" is not called a damaged image
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # large or slightly damaged, but readable
                with Image.open(file) as image:
                    return pil_to_rgb(image, upright=upright)
        except UnidentifiedImageError as error:
            raise ValueError(f"{path} is no image in a format that Pillow reads") from error
        except Image.DecompressionBombError as error:
            raise ValueError(f"{path} is too large to be decoded safely: {error}") from error
        except MemoryError:
            raise
        except Exception as error:  # Pillow raises all kinds of errors for damaged files
            raise ValueError(f"{path} cannot be decoded, it may be damaged: {error}") from error


def to_rgb(image: Image.Image | NDArray | torch.Tensor) -> NDArray[np.uint8]:
    """Turn an image in memory into an RGB array.

    Args:
        image: one of
            - a PIL image of any mode, which is turned upright as its EXIF orientation says;
            - a uint8 array of shape (H, W, 3) in RGB order or (H, W) in grey;
            - a uint8 tensor of shape (3, H, W), RGB.

    Returns:
        RGB 0..255, (H, W, 3).

    Raises:
        ValueError: if `image` is none of these, or empty.
    """
    if isinstance(image, Image.Image):
        return pil_to_rgb(image)
    if isinstance(image, torch.Tensor):
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3 or not image.numel():
            raise ValueError(f"expected an RGB tensor (3, H, W) of uint8, got {tuple(image.shape)} of {image.dtype}")
        return image.permute(1, 2, 0).contiguous().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise ValueError(f"expected a path, a PIL image, an array or a tensor, got {type(image).__name__}")
    grey = image.ndim == 2
    if image.dtype != np.uint8 or not (grey or (image.ndim == 3 and image.shape[2] == 3)) or not image.size:
        raise ValueError(f"expected an RGB array (H, W, 3) or grey (H, W) of uint8, got {image.shape} of {image.dtype}")
    return np.ascontiguousarray(np.stack([image] * 3, axis=-1) if grey else image)


def pil_to_rgb(image: Image.Image, *, upright: bool = True) -> NDArray[np.uint8]:
    """Turn a PIL image of any mode into RGB, as `read_image` describes.

    Args:
        image: a PIL image, which is decoded if it was not yet.
        upright: as in `read_image`.

    Returns:
        RGB 0..255, (H, W, 3).

    Raises:
        ValueError: if the image is empty or its mode has no conversion to RGB.
    """
    if not image.width or not image.height:
        raise ValueError(f"the image is empty: {image.width} x {image.height} pixels")
    if upright:
        image = ImageOps.exif_transpose(image)
    if image.mode in _GREY_16_BIT:
        return to_rgb(_to_8_bit(np.asarray(image).astype(np.int64)))
    if image.mode == "F":
        raise ValueError("images of floating-point numbers have no fixed white; convert it to 8 or 16 bits first")
    if image.has_transparency_data:
        colors = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colors.size, "white"), colors)
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _to_8_bit(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Scale 16-bit grey values to 8 bits."""
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"expected 16-bit grey values 0..65535, got {values.min()}..{values.max()}")
    return ((values + 128) // 257).astype(np.uint8)
