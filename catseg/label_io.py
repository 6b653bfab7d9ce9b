"""Reading label maps: images whose pixel values are class numbers."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.utils.logger import log_first_n
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageSequence, TiffImagePlugin

from catseg.errors import InputError
from catseg.exif import exif_orientation, turned_by_decoding
from catseg.image_files import UnsuitableImageError, image_suffixes, read_file
from catseg.stored_values import decoded_by_opencv, palette_indices, stored_values
from catseg.tiff import bits_per_sample, is_tiff, tiff_orientation

_MAX_LISTED = 10  # values that an error message lists
_FORMATS = ("PNG", "TIFF", "BMP", "GIF", "PPM", "TGA")  # keep numbers exactly
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
_CHANNELS = {"LA": 1, "PA": 1, "RGB": 3, "RGBA": 3}  # of one number each, if equal; what is left is opacity
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by number of channels
_EXTRA_PAGES = 1 | 4  # bits of TIFF's tag NewSubfileType: a smaller version, a transparency mask


def read_label_map(path: str | Path) -> NDArray[np.integer]:
    """Read the numbers that a label map stores, whatever they look like as shades of grey or as colours.

    Rows and columns are those that the file stores: label maps are drawn on upright images, and are not turned even if
    they have an EXIF orientation of their own, of which a warning is logged.

    Args:
        path: a PNG, TIFF, BMP, GIF, PGM or TGA file, a grey or palette image of any number of bits. Floating-point
            numbers must be whole; several channels, as image editors write them, must be equal and opaque.

    Returns:
        Integers of the file's own type, (H, W).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no image, is damaged, or is no label map for certain: a mask of colours, several
            images, a format that changes numbers.
        OSError: if the file cannot be opened.
    """
    try:
        return read_file(path, partial(_label_map, path), otherwise=partial(_odd_file, path))
    except ValueError as error:
        raise InputError(f"the label file {error}") from error


def label_suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case and with the dot, of the formats that label maps can have."""
    formats = Image.registered_extensions()
    return frozenset(suffix for suffix in image_suffixes() if formats[suffix] in _FORMATS)


def read_classes(path: str | Path, *, num_classes: int, ignore_label: int) -> NDArray[np.int64]:
    """Read a label map whose values must be classes of a data set.

    Args:
        path: as in `read_label_map`.
        num_classes: number of classes T.
        ignore_label: the value of pixels that have no class.

    Returns:
        Values 0..T-1 or `ignore_label`, (H, W).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read, or holds other values. They are listed.
        OSError: if the file cannot be opened.
    """
    labels = read_label_map(path).astype(np.int64)
    wrong = labels[(labels != ignore_label) & ((labels < 0) | (labels >= num_classes))]
    if wrong.size:
        values = np.unique(wrong)
        listed = ", ".join(map(str, values[:_MAX_LISTED])) + (", ..." if len(values) > _MAX_LISTED else "")
        raise InputError(
            f"the label file {path} has values that are no class: {listed}; there are {num_classes} classes, "
            f"0..{num_classes - 1}, and {ignore_label} is ignored. Was the data set prepared?"
        )
    return labels


def check_label_size(
    label_file: str | Path, size: tuple[int, ...], image_file: str | Path, image_size: tuple[int, ...]
) -> None:
    """Check that a label map has the size of its image.

    Args:
        label_file: file of the label map.
        size: its rows and columns.
        image_file: file of the image.
        image_size: its rows and columns, upright.

    Raises:
        ValueError: if the sizes differ. If they are equal when one is turned, the message says what to do about it.
    """
    if size == image_size:
        return
    hint = ""
    if size == image_size[::-1]:
        hint = (
            ". They are equal when one is turned: label maps are drawn on the image as its EXIF orientation shows it. "
            "Write the image anew without EXIF data, or turn the label map; a data set registered with Detectron2 can "
            'say that all are as stored: MetadataCatalog.get("NAME").set(ignore_exif_orientation=True)'
        )
    raise InputError(
        f"the label file {label_file} is {size[1]} x {size[0]} pixels, "
        f"but its image {image_file} is {image_size[1]} x {image_size[0]}{hint}"
    )


def _label_map(path: str | Path, image: Image.Image) -> NDArray[np.integer]:
    compression = image.info.get("compression")
    if image.format not in _FORMATS or (image.format == "TIFF" and compression in _LOSSY_TIFF):
        kind = f"{image.format} compressed as {compression}" if image.format == "TIFF" else image.format
        raise UnsuitableImageError(
            f"label maps must be in a format that keeps numbers exactly, such as PNG, TIFF, BMP or PGM, got {kind}, "
            "which can change them: write the label maps anew as PNG from where they come from"
        )
    pages = sum(1 for _ in _pages(image))
    if pages > 1:
        raise UnsuitableImageError(f"it holds {pages} images, but a label map is one: write each to a file of its own")
    turned = turned_by_decoding(image)
    values = _single_channel(stored_values(image), image.mode)
    if {turned, exif_orientation(image)} != {1}:
        _warn_of_orientation(path)
    return _whole(values)


def _odd_file(path: str | Path, content: bytes) -> NDArray[np.integer] | None:
    """Read a file that Pillow does not know or misreads: a TIFF file of many bits, a BMP file of few greys."""
    if content.startswith(b"BM"):
        return palette_indices(content)
    if not is_tiff(content):
        return None
    values = decoded_by_opencv(content)
    if values.dtype == np.uint8:
        raise UnsuitableImageError("is a TIFF file of a kind that can be read as an image alone: write it as PNG")
    if values.dtype == np.uint16:
        values = values >> (16 - bits_per_sample(content))  # OpenCV fills up the lower bits of fewer with 0
    if tiff_orientation(content) != 1:
        _warn_of_orientation(path)
    return _single_channel(_whole(values), _MODES[values.shape[2] if values.ndim == 3 else 1])


def _warn_of_orientation(path: str | Path) -> None:
    log_first_n(
        logging.WARNING,
        f"The label file {path} has an EXIF orientation, which is ignored: label maps are drawn on upright images. "
        "Write it without EXIF data, upright",
    )


def _pages(image: Image.Image) -> Iterator[Image.Image]:
    """Iterate over the images of a file but for smaller versions of one, and leave it at the first."""
    for page in ImageSequence.Iterator(image):
        if not (isinstance(page, TiffImagePlugin.TiffImageFile) and _is_extra(page)):
            yield page
    image.seek(0)


def _is_extra(page: TiffImagePlugin.TiffImageFile) -> bool:
    return bool(page.tag_v2.get(ExifTags.Base.NewSubfileType, 0) & _EXTRA_PAGES)


def _single_channel(values: NDArray[Any], mode: str) -> NDArray[Any]:
    if values.ndim == 2:
        return values
    count = _CHANNELS.get(mode.upper())
    first = values[..., :1]
    if count is None or (values[..., :count] != first).any():
        raise UnsuitableImageError(
            f"it is a mask of colours ({mode}): a label map holds the number of each pixel's class. Give each colour "
            "its class number and write them as a grey or palette PNG"
        )
    if (values[..., count:] != np.iinfo(values.dtype).max).any():
        raise UnsuitableImageError(
            f"parts of it are transparent ({mode}), so that it is not clear whether they have a class: write the class "
            "numbers, and the ignored label where there is none, as a grey PNG without transparency"
        )
    return values[..., 0]


def _whole(values: NDArray[Any]) -> NDArray[np.integer]:
    if np.issubdtype(values.dtype, np.integer):
        return values
    if not np.isfinite(values).all() or (values != np.rint(values)).any():
        raise UnsuitableImageError("it must hold whole numbers, the classes of the pixels, but holds fractions")
    return values.astype(np.int64)
