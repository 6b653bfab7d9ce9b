"""Label maps made of shapes that are painted one over another."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from catseg.data.formats.dataset import Geometry
from catseg.errors import InputError
from catseg.exif import turn

Points = Sequence[Sequence[float]]  # x, y each


def polygon_mask(points: Points, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill a polygon, its outline included, as Ultralytics and labelme do.

    Args:
        points: corners in pixels, which may lie outside the image; at least three.
        size: rows and columns.
    """
    corners = [(round(x, 2), round(y, 2)) for x, y in points]  # relative numbers come out as 2.9999998, too
    return drawn_mask(size, lambda draw: draw.polygon(corners, fill=1, outline=1))


def drawn_mask(size: tuple[int, int], draw: Any) -> NDArray[np.bool_]:
    """Return what a function draws with the value 1 on an empty canvas of `size` rows and columns."""
    canvas = Image.new("L", (size[1], size[0]))
    draw(ImageDraw.Draw(canvas))
    return np.asarray(canvas) > 0


def paint(
    shapes: Iterable[tuple[int, NDArray[np.bool_]]], size: tuple[int, int], rest: int, *, smaller_on_top: bool
) -> NDArray[np.int64]:
    """Paint masks over one another.

    Args:
        shapes: label and mask of each.
        size: rows and columns.
        rest: label of the pixels outside all shapes.
        smaller_on_top: whether to paint in the order of falling areas, and not in the given one.
    """
    labels = np.full(size, rest, dtype=np.int64)
    ordered = list(shapes)
    if smaller_on_top:
        ordered.sort(key=lambda shape: -int(shape[1].sum()))  # stable: of equal areas, the later one is on top
    for label, mask in ordered:
        labels[mask] = label
    return labels


def canvas_of(image: Geometry, stated: tuple[int, int] | None, where: str) -> tuple[tuple[int, int], int]:
    """Decide which way round an image was labelled.

    Args:
        image: its size.
        stated: rows and columns that the labels state; None if they do not.
        where: the labels, for the message.

    Returns:
        Rows and columns of the canvas, and the orientation that turns it upright, see `catseg.exif.turn`.

    Raises:
        ValueError: if `stated` fits the image neither upright nor as it is stored.
    """
    if stated is None or stated == image.upright:
        return image.upright, 1
    if stated == image.stored:
        return image.stored, image.orientation
    raise InputError(
        f"{where} is of an image of {stated[1]} x {stated[0]} pixels, "
        f"but the image has {image.upright[1]} x {image.upright[0]}"
    )


def upright(labels: NDArray[np.int64], orientation: int) -> NDArray[np.int64]:
    """Turn a painted canvas upright."""
    return turn(labels, orientation)


def as_bytes(*values: Any) -> bytes:
    """Return plain values as bytes, the same for the same values."""
    return json.dumps(values, sort_keys=True).encode()
