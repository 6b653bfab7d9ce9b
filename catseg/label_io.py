"""Reading label maps: images whose pixel values are class numbers."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_MAX_LISTED = 10  # values that an error message lists


def read_label_map(path: str | Path) -> NDArray[np.integer]:
    """Read the pixel values of a label map, without any conversion.

    Args:
        path: an 8-bit grey or palette image, or a 16-bit or 32-bit grey one, in any format that Pillow reads.

    Returns:
        Values of the file's own type, (H, W); of a palette image the indices.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no image, is damaged, or has several channels or fractions.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no label file {path}")
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    # Pillow raises all kinds of errors for damaged files.
    except Exception as error:
        raise ValueError(f"the label file {path} cannot be decoded, it may be damaged: {error}") from error
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            f"the label file {path} must be a grey or palette image of whole numbers, "
            f"got {values.dtype} values of shape {values.shape}"
        )
    return values


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
    """
    labels = read_label_map(path).astype(np.int64)
    wrong = labels[(labels != ignore_label) & ((labels < 0) | (labels >= num_classes))]
    if wrong.size:
        values = np.unique(wrong)
        listed = ", ".join(map(str, values[:_MAX_LISTED])) + (", ..." if len(values) > _MAX_LISTED else "")
        raise ValueError(
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
            ". They are equal when one is turned: label maps are drawn on the image as its EXIF orientation shows it, "
            'or else the data set says so: MetadataCatalog.get("NAME").set(ignore_exif_orientation=True)'
        )
    raise ValueError(
        f"the label file {label_file} is {size[1]} x {size[0]} pixels, "
        f"but its image {image_file} is {image_size[1]} x {image_size[0]}{hint}"
    )
