"""Placement of class names inside large regions, without overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from catseg.visualization.text import draw_text, text_width

_MAP_SIZE = 400  # longer side of the reduced label map that places are searched on
_MIN_AREA = 0.004  # share of the image that a region needs to get a name
_MIN_AREA_AGAIN = 0.03  # the same, for regions of a class that is written elsewhere already
_MIN_INSIDE = 0.8  # share of the text box that has to lie in the region, at the smallest size
_SIZES = (1.6, 1.25, 1.0, 0.8)  # tried in this order, times the base font size
_MARGIN = 0.35  # free space around a text, over its font size
_WHITE = (255, 255, 255)
_BLACK = (16, 16, 16)


@dataclass(frozen=True)
class _Region:
    mask: NDArray[np.uint8]
    label: int
    area: int
    again: bool  # whether a larger region of the same class exists


@dataclass(frozen=True)
class _Place:
    label: int
    x: float
    y: float
    size: int


def draw_region_names(image: NDArray[np.uint8], labels: NDArray[np.int32], names: Sequence[str], size: int) -> None:
    """Write the names of the classes into their large regions, in place.

    Longer names choose their place first, because they fit into fewer; each class is written once before any is
    written again.

    Args:
        image: RGB, (H, W, 3).
        labels: class of each pixel, (H, W); negative where there is none.
        names: drawable class names.
        size: base font size in pixels.
    """
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    for place in _find_places(labels, names, size):
        name = names[place.label]
        left = place.x - text_width(name, place.size, bold=True) / 2
        draw_text(draw, left, place.y, name, place.size, _WHITE, bold=True, outline=_BLACK)
    image[:] = np.asarray(canvas)


def _find_places(labels: NDArray[np.int32], names: Sequence[str], size: int) -> list[_Place]:
    scale = min(1.0, _MAP_SIZE / max(labels.shape))
    height, width = (max(1, round(side * scale)) for side in labels.shape)
    rows, columns = ((np.arange(n) * side) // n for n, side in zip((height, width), labels.shape, strict=True))
    small = labels[np.ix_(rows, columns)]
    taken = np.zeros((height, width), dtype=np.float32)
    places = []
    for region in _regions(small, names):
        for factor in _SIZES:
            font_size = max(8, round(size * factor))
            box_width = (text_width(names[region.label], font_size, bold=True) + 2 * _MARGIN * font_size) * scale
            box = (max(1, round(box_width)), max(1, round((1 + 2 * _MARGIN) * font_size * scale)))
            inside_needed = _MIN_INSIDE if factor == _SIZES[-1] else 0.995
            center = _best_center(region.mask, taken, box, inside_needed)
            if center is not None:
                x, y = center
                left, top = x - box[0] // 2, y - box[1] // 2
                taken[max(0, top) : top + box[1], max(0, left) : left + box[0]] = 1
                places.append(_Place(region.label, (x + 0.5) / scale, (y + 0.5) / scale, font_size))
                break
    return places


def _regions(labels: NDArray[np.int32], names: Sequence[str]) -> list[_Region]:
    """List the connected regions that deserve a name, in the order in which they choose their places."""
    regions = []
    for label in np.unique(labels[labels >= 0]):
        mask = (labels == label).astype(np.uint8)
        _, components, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        areas = stats[1:, cv2.CC_STAT_AREA]
        for rank, component in enumerate(np.argsort(-areas, kind="stable")):
            area = int(areas[component])
            if area < labels.size * (_MIN_AREA_AGAIN if rank else _MIN_AREA):
                break
            regions.append(_Region((components == component + 1).astype(np.uint8), int(label), area, again=rank > 0))
    return sorted(regions, key=lambda region: (region.again, -len(names[region.label]), -region.area))


def _best_center(
    mask: NDArray[np.uint8], taken: NDArray[np.float32], box: tuple[int, int], inside_needed: float
) -> tuple[int, int] | None:
    """Find the (x, y) in the region around which a box of (width, height) lies best inside the region."""
    inside = cv2.boxFilter(mask.astype(np.float32), -1, box, borderType=cv2.BORDER_CONSTANT)
    covered = cv2.boxFilter(taken, -1, box, borderType=cv2.BORDER_CONSTANT)
    depth = cv2.distanceTransform(cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3)[1:-1, 1:-1]
    good = (inside >= inside_needed) & (covered < 1e-6) & (mask > 0)
    if not good.any():
        return None
    score = np.where(good, inside + 0.2 * depth / depth.max(), -1.0)
    y, x = np.unravel_index(int(score.argmax()), score.shape)
    return int(x), int(y)
