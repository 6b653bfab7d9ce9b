"""Polygons around the regions of a label map."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

Outline = list[tuple[int, int]]  # x, y of each corner, pixels that belong to the region


def outlines(labels: NDArray[np.int64], wanted: Iterable[int]) -> list[tuple[int, Outline]]:
    """Return the outlines of the connected regions of some labels, larger ones first.

    Filled one over another in this order, outlines included, they give the label map again, where holes of regions hold
    wanted labels.

    Args:
        labels: (H, W).
        wanted: the labels.

    Returns:
        Label and corners of each region; three corners at least, which may be the same.
    """
    found: list[tuple[float, int, Outline]] = []
    for label in wanted:
        # Regions that touch at corners alone are several: lines through such corners would cross one another.
        count, regions, boxes, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8), connectivity=4)
        for region in range(1, count):
            left, top, width, height = (int(number) for number in boxes[region, :4])
            part = (regions[top : top + height, left : left + width] == region).astype(np.uint8)
            [contour], _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            corners = [(left + int(x), top + int(y)) for x, y in contour[:, 0]]
            found.append((_filled_area(contour), label, corners + corners[-1:] * (3 - len(corners))))
    found.sort(key=lambda item: -item[0])
    return [(label, corners) for _, label, corners in found]


def _filled_area(contour: NDArray[np.int32]) -> float:
    """Return the number of pixels inside an outline, its own included (Pick's theorem)."""
    closed = np.concatenate([contour[:, 0], contour[:1, 0]])
    steps = np.abs(np.diff(closed, axis=0)).max(axis=1).sum()
    return cv2.contourArea(contour) + steps / 2 + 1
