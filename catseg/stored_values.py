"""The numbers that an image file stores, which Pillow stretches, inverts, cuts or wraps around in some cases."""

import io
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from catseg.exif import turn_back, turned_by_decoding
from catseg.image_files import UnsuitableImageError
from catseg.tiff import is_planar, is_tiff, pixel_count, without_orientation

_SIGNED = 2  # of TIFF's tag SampleFormat
_STRETCHED = {2: 85, 4: 17}  # by bits per pixel of grey: what Pillow makes of 1


def stored_values(image: Image.Image) -> NDArray[Any]:
    """Return the numbers of an image as its file stores them; of a palette image, the indices.

    Args:
        image: as `PIL.Image.open` returns it, not decoded yet; one that is not from a file is taken as it is.

    Returns:
        (H, W), or (H, W, C) if there are several channels, in Pillow's order, of the file's own type. Rows and columns
        are those that the file stores, although decoding turns some images.

    Raises:
        UnsuitableImageError: if the file has several channels of 16 bits and OpenCV, which unlike Pillow keeps all of
            them, cannot decode it; or if it has colours of 5 bits.
    """
    packing, white, dtype, turned = _packing(image), white_of(image), _tiff_dtype(image), turned_by_decoding(image)
    if packing.startswith("BGR") and ";" in packing:
        raise UnsuitableImageError("stores colours of 5 bits, which are stretched to 8: write it as a grey PNG")
    if is_deep_colour(image):
        return _decoded_by_opencv(image)
    values = turn_back(np.asarray(image), turned)
    if image.format == "PPM" and white is not None:
        return np.rint(values * (white / (65535 if image.mode == "I" else 255))).astype(np.uint16)
    if image.mode in ("1", "L"):
        values = _unstretched(values.astype(np.uint8), packing)
    return values if dtype is None or image.mode not in ("L", "I", "I;16") else values.astype(dtype)


def palette_indices(content: bytes) -> NDArray[np.uint8] | None:
    """Return the indices (H, W) of a BMP file whose palette holds shades of grey in order, which Pillow takes for grey.

    It reads such files as having 8 bits per pixel, or 1 if there are two shades, even if they have another number of
    them; None if there is no palette.
    """
    start = 14 + struct.unpack_from("<I", content, 14)[0]
    coloured = content[:start] + b"\1" + content[start + 1 :]  # the first shade, which is black
    with Image.open(io.BytesIO(coloured)) as image:
        return np.asarray(image) if image.mode == "P" else None


def white_of(image: Image.Image) -> int | None:
    """Return the largest number that the pixels of a TIFF or PNM file can have; None of other files and of floats."""
    arguments = _decoder_arguments(image)
    if image.format == "PPM" and len(arguments) == 2:
        return int(arguments[1])
    dtype = _tiff_dtype(image)
    if dtype is None:
        return None
    return 2 ** (_tiff_tag(image, ExifTags.Base.BitsPerSample, 1) - (dtype.kind == "i")) - 1


def has_white_as_0(image: Image.Image) -> bool:
    """Tell whether a TIFF file stores white as 0. Pillow inverts such values if they have up to 8 bits."""
    return _tiff_tag(image, ExifTags.Base.PhotometricInterpretation, 1) == 0


def is_deep_colour(image: Image.Image) -> bool:
    """Tell whether a file, not decoded yet, has several channels of more than 8 bits, of which Pillow keeps 8."""
    deep = "16" in _packing(image) or (image.format == "PPM" and (white_of(image) or 0) > 255)
    return deep and image.mode in ("RGB", "RGBA", "CMYK")


def stretched_to_8_bits(image: Image.Image, value: int) -> int:
    """Return what Pillow makes of a stored number when it decodes a grey image of 2 or 4 bits; else the number."""
    return value * _STRETCHED.get(_bits(_packing(image)), 1)


def _unstretched(values: NDArray[np.uint8], packing: str) -> NDArray[np.uint8]:
    """Undo what Pillow does to grey of less than 8 bits, and to files that store white as 0."""
    bits = _bits(packing)
    values = values // np.uint8(_STRETCHED.get(bits, 1))
    return values ^ np.uint8(2**bits - 1) if "I" in packing else values


def _bits(packing: str) -> int:
    mode, _, details = packing.partition(";")
    if mode == "1":
        return 1
    return int(details[0]) if mode == "L" and details[:1] in ("2", "4") else 8


def _packing(image: Image.Image) -> str:
    """Return Pillow's name of how pixels lie in the file: `L;4I` is grey of 4 bits, inverted."""
    arguments = _decoder_arguments(image)
    return arguments[0] if arguments and isinstance(arguments[0], str) else ""


def _decoder_arguments(image: Image.Image) -> tuple[Any, ...]:
    """Return what Pillow's decoder is told of the file; nothing once the image is decoded."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ()
    arguments = tiles[0][3]
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _tiff_dtype(image: Image.Image) -> np.dtype[Any] | None:
    """Return the type of the whole numbers of a TIFF file; None of other files and of fractions."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.mode == "F":
        return None
    kind = "int" if _tiff_tag(image, ExifTags.Base.SampleFormat, 1) == _SIGNED else "uint"
    bits = _tiff_tag(image, ExifTags.Base.BitsPerSample, 1)
    return np.dtype(f"{kind}{8 if bits <= 8 else 16 if bits <= 16 else 32}")


def _tiff_tag(image: Image.Image, tag: int, default: int) -> int:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return default
    value = image.tag_v2.get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _decoded_by_opencv(image: Image.Image) -> NDArray[Any]:
    stream: Any = getattr(image, "fp")  # noqa: B009 (not of every image)
    stream.seek(0)
    return decoded_by_opencv(stream.read())


def decoded_by_opencv(content: bytes) -> NDArray[Any]:
    """Decode a file with OpenCV, which keeps the numbers of every type as they are.

    Returns:
        (H, W), or (H, W, C) with channels RGB or RGBA; rows and columns are those that the file stores.

    Raises:
        UnsuitableImageError: if it cannot be decoded, or is a TIFF file of one channel after another, which OpenCV
            misreads.
        DecompressionBombError: if it is as large as Pillow refuses, too.
    """
    if is_tiff(content):
        if Image.MAX_IMAGE_PIXELS is not None and pixel_count(content) > 2 * Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError(f"it has {pixel_count(content)} pixels")
        if is_planar(content):
            raise UnsuitableImageError("stores one channel after another with more than 8 bits: convert it to 8 bits")
        content = without_orientation(content)
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the error below says what matters
    try:
        values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if values is None:
        raise UnsuitableImageError("cannot be decoded with all of its bits: convert it to 8 bits")
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(values.shape[2] if values.ndim == 3 else 1)
    return values if order is None else values[..., order]
