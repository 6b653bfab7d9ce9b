"""Writing images and label maps to files, whole or not at all."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from catseg.atomic import atomic_path
from catseg.errors import InputError
from catseg.visualization.palette import IGNORED_COLOR, palette

_JPEG_QUALITY = 92


def save_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image; the suffix of the name (.png, .jpg, .webp, ...) tells the format.

    Args:
        path: the file; its folder is made if needed.
        image: RGB 0..255, (H, W, 3).

    Raises:
        ValueError: if the suffix is no image format that can be written, or if the format cannot hold an image of
            this size.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    format_name = Image.registered_extensions().get(path.suffix.lower())
    if format_name not in Image.SAVE:
        raise InputError(f"cannot write {path}: {path.suffix or 'no suffix'} is no image format; use .png or .jpg")
    options: dict[str, Any] = {"quality": _JPEG_QUALITY, "subsampling": 0} if format_name == "JPEG" else {}
    _write(path, Image.fromarray(image), format_name, options)


def save_label_png(
    path: str | Path, labels: NDArray[np.integer], num_classes: int, colors: ArrayLike | None = None
) -> None:
    """Write a label map as a PNG whose pixel values are the class numbers.

    Up to 256 classes are written as 8-bit values with a colour table, so that the file looks coloured in a viewer and
    still holds class numbers (`numpy.asarray(PIL.Image.open(path))`); pixels without class are 255. With more classes,
    or where all 256 values are classes and some pixels have none, the values have 16 bits, and pixels without class
    are 65535.

    Args:
        path: the file; its folder is made if needed.
        labels: class of each pixel, (H, W). Values outside 0..num_classes - 1 are pixels without class.
        num_classes: number of classes, at most 65535.
        colors: RGB 0..255 per class, (num_classes, 3); `palette(num_classes)` by default.

    Raises:
        ValueError: if `path` does not end in .png, `labels` is no integer (H, W), or there are too many classes.
        OSError: if the file cannot be written.
    """
    path, labels = Path(path), np.asarray(labels)
    if path.suffix.lower() != ".png":
        raise InputError(f"a label map is a .png file, got {path}")
    if labels.ndim != 2 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"expected a label map (H, W) of whole numbers, got {labels.shape} of {labels.dtype}")
    if not 0 <= num_classes <= 65535:
        raise InputError(f"a label map holds 0 to 65535 classes, got {num_classes}")
    known = (labels >= 0) & (labels < num_classes)
    if num_classes < 256 or (num_classes == 256 and known.all()):
        image = Image.fromarray(np.where(known, labels, 255).astype(np.uint8))
        image.putpalette(_color_table(num_classes, colors).tobytes())
    else:
        image = Image.fromarray(np.where(known, labels, 65535).astype(np.uint16))
    _write(path, image, "PNG", {})


def _write(path: Path, image: Image.Image, format_name: str, options: dict[str, Any]) -> None:
    # Encoded in memory first, because Pillow's own writing to a full disk fails without saying why.
    buffer = io.BytesIO()
    try:
        image.save(buffer, format_name, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"{format_name} cannot hold an image of {image.width} x {image.height}: {error}") from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _color_table(num_classes: int, colors: ArrayLike | None) -> NDArray[np.uint8]:
    table = np.full((256, 3), IGNORED_COLOR, dtype=np.uint8)
    table[:num_classes] = palette(num_classes) if colors is None else np.asarray(colors)
    return table
