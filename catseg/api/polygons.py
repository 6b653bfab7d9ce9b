"""Outlines of masks as polygons that run along the borders of pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Ring = list[tuple[int, int]]


@dataclass(frozen=True)
class Polygon:
    """A 4-connected region of a mask.

    Attributes:
        outline: corners (x, y), in pixels from the upper left corner of the image, clockwise as seen on a screen; the
            first one is not repeated at the end.
        holes: the corners of each hole, counterclockwise.
    """

    outline: Ring
    holes: tuple[Ring, ...]

    def as_one_ring(self) -> Ring:
        """Join the holes to the outline by bridges without width, for formats that have no holes.

        The ring covers the same pixels under both common rules of filling.
        """
        ring = list(self.outline)
        for hole in self.holes:
            points, corners = np.array(ring), np.array(hole)
            distances = ((points[:, None] - corners[None]) ** 2).sum(axis=2)
            at, start = (int(i) for i in np.unravel_index(int(distances.argmin()), distances.shape))
            ring[at + 1 : at + 1] = [*hole[start:], *hole[: start + 1], ring[at]]
        return ring


def polygons(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Trace the regions of a mask.

    Args:
        mask: (H, W).

    Returns:
        The regions, from top to bottom. The areas of outlines, less those of holes, add up to the pixels of the mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    inner = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    _, regions = cv2.connectedComponents(inner.astype(np.uint8), connectivity=4)
    outlines: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for region, ring in _rings(inner, regions, offset=(left - 1, top - 1)):
        if _doubled_area(ring) > 0:
            outlines[region] = ring
        else:
            holes.setdefault(region, []).append(ring)
    return [Polygon(ring, tuple(holes.get(region, ()))) for region, ring in sorted(outlines.items())]


def _rings(mask: NDArray[np.bool_], regions: NDArray[np.int32], offset: tuple[int, int]) -> list[tuple[int, Ring]]:
    """Follow the borders of a mask whose outermost pixels are empty, with the mask on the right.

    Returns:
        The region that a ring belongs to, and its corners.
    """
    width = mask.shape[1] + 1
    # Of each kind of edge: the neighbour that is not in the mask, and where the edge starts from the pixel's corner.
    kinds = [((-1, 0), (0, 0)), ((0, 1), (0, 1)), ((1, 0), (1, 1)), ((0, -1), (1, 0))]
    steps = np.array([1, width, -1, -width])
    keys, owners = [], []
    for kind, (neighbour, (down, right)) in enumerate(kinds):
        y, x = np.nonzero(mask & ~np.roll(mask, (-neighbour[0], -neighbour[1]), axis=(0, 1)))
        keys.append(((y + down) * width + x + right) * 4 + kind)
        owners.append(regions[y, x])
    key, owner = np.concatenate(keys), np.concatenate(owners)
    order = key.argsort()
    key, owner = key[order], owner[order]
    start, direction = key >> 2, key & 3
    end = start + steps[direction]
    # A right turn first, so that regions that touch at a corner stay apart; then straight on, then left.
    following = np.full(len(key), -1)
    for turn in (3, 0, 1):
        wanted = end * 4 + (direction + turn) % 4
        place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        following = np.where(key[place] == wanted, place, following)
    return _follow(following.tolist(), direction.tolist(), start.tolist(), owner.tolist(), width, offset)


def _follow(
    following: list[int],
    direction: list[int],
    start: list[int],
    owner: list[int],
    width: int,
    offset: tuple[int, int],
) -> list[tuple[int, Ring]]:
    rings = []
    visited = [False] * len(following)
    for first in range(len(following)):
        if visited[first]:
            continue
        ring: Ring = []
        edge = first
        while not visited[edge]:
            visited[edge] = True
            after = following[edge]
            if direction[after] != direction[edge]:
                y, x = divmod(start[after], width)
                ring.append((x + offset[0], y + offset[1]))
            edge = after
        rings.append((owner[first], ring))
    return rings


def _doubled_area(ring: Ring) -> int:
    """Return twice the area inside, positive for rings that are clockwise on a screen."""
    x, y = np.array(ring, dtype=np.int64).T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
