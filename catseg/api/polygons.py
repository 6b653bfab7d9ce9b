"""Outlines of masks as polygons that run along the borders of pixels, or near them.

Polygons are valid as the OGC's Simple Features define it, and so to every library that follows it: no ring crosses or
touches itself, holes lie within the outline, and rings of one polygon meet in points at most.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from catseg.errors import InputError, RunError

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
    holes: tuple[Ring, ...] = ()


def polygons(mask: NDArray[np.bool_], *, holes: bool = True, tolerance: float = 0.0) -> list[Polygon]:
    """Trace the regions of a mask.

    Args:
        mask: (H, W).
        holes: False cuts regions at their holes, straight up and down, until no piece has one: for formats without
            holes.
        tolerance: how far, in pixels, the border may be from that of the pixels. Corners that are not needed for that
            are left out (Douglas-Peucker, by shapely, which keeps rings from crossing). Each polygon is simplified by
            itself, so that neighbours may overlap, or leave a gap, by twice as much.

    Returns:
        The regions or pieces, from top to bottom. Without a tolerance, the areas of outlines, less those of holes, add
        up to the pixels of the mask.

    Raises:
        ValueError: if the tolerance is negative.
        RuntimeError: if there is a tolerance, but shapely is not installed.
    """
    if not tolerance >= 0:
        raise InputError(f"the tolerance of polygons is a number of pixels, 0 or more, got {tolerance}")
    traced = sorted(_trace(mask, holes=holes), key=lambda polygon: min((y, x) for x, y in polygon.outline))
    return _simplified(traced, tolerance) if tolerance else traced


def without_crumbs(mask: NDArray[np.bool_], min_pixels: int) -> NDArray[np.bool_]:
    """Leave out the regions of a mask (H, W) with fewer pixels, and then fill such holes; both 4-connected.

    Raises:
        ValueError: if the number is negative.
    """
    if min_pixels < 0:
        raise InputError(f"min_pixels is a number of pixels, 0 or more, got {min_pixels}")
    if min_pixels < 2:
        return mask
    edge = math.isqrt(min_pixels) + 1  # so wide that the outside is no small hole
    around = np.pad(~_large(mask, min_pixels), edge, constant_values=True)
    return np.asarray(~_large(around, min_pixels)[edge:-edge, edge:-edge])


def _large(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    _, regions, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return np.asarray(mask & (statistics[:, cv2.CC_STAT_AREA] >= pixels)[regions])


def _trace(mask: NDArray[np.bool_], *, holes: bool) -> list[Polygon]:
    """Return the regions of a mask, with their holes or cut by them."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    inner = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    offset = int(columns[0]) - 1, int(rows[0]) - 1
    _, regions = cv2.connectedComponents(inner.astype(np.uint8), connectivity=4)
    found = _outlined(regions, offset)
    inside = [hole for polygon in found for hole in polygon.holes]
    return _outlined(_cut(inner, inside, offset), offset) if inside and not holes else found


def _outlined(regions: NDArray[np.int32], offset: tuple[int, int]) -> list[Polygon]:
    """Return the polygons of numbered regions, 0 for none, whose upper left corner is at (x, y) = `offset`."""
    outlines: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for region, ring in _rings(regions, offset):
        if _doubled_area(ring) > 0:
            outlines[region] = ring
        else:
            holes.setdefault(region, []).append(ring)
    return [Polygon(ring, tuple(holes.get(region, ()))) for region, ring in outlines.items()]


def _cut(mask: NDArray[np.bool_], holes: list[Ring], offset: tuple[int, int]) -> NDArray[np.int32]:
    """Number the pieces of regions that are cut at their holes: from its top upwards and from its bottom downwards.

    A cut ends where the region does, outside or at another hole, which has cuts of its own: so all holes hang together
    with the outside, and no piece is around one. They do both upwards and downwards, so that no cut ends in a piece.
    """
    starts = mask & ~np.roll(mask, 1, axis=1)  # of the runs of pixels in a row
    for hole in holes:
        x, y = min(hole, key=lambda corner: corner[1])
        x, y = x - offset[0], y - offset[1]
        end = np.flatnonzero(~(mask[:y, x - 1] & mask[:y, x]))[-1]
        starts[end + 1 : y, x] = True
        x, y = max(hole, key=lambda corner: corner[1])
        x, y = x - offset[0], y - offset[1]
        end = np.flatnonzero(~(mask[y:, x - 1] & mask[y:, x]))[0]
        starts[y : y + end, x] = True
    runs = starts.cumsum().reshape(mask.shape) - 1
    joined = mask[1:] & mask[:-1]
    pairs = np.unique(np.stack([runs[:-1][joined], runs[1:][joined]]), axis=1)
    graph = coo_array((np.ones(pairs.shape[1]), tuple(pairs)), shape=(int(starts.sum()),) * 2)
    _, pieces = connected_components(graph, directed=False)
    return np.where(mask, pieces[runs] + 1, 0)


def _simplified(exact: list[Polygon], tolerance: float) -> list[Polygon]:
    """Leave out corners that are not needed to stay within `tolerance` pixels of the border."""
    try:
        import shapely
    except ImportError as error:
        raise RunError("polygons with a tolerance need the package shapely: pip install catseg[polygons]") from error
    # Half of it: where a ring starts, GEOS takes a corner out of what it has simplified before, so that both add up.
    shapes = shapely.simplify([shapely.Polygon(p.outline, p.holes) for p in exact], tolerance / 2)
    return [Polygon(_corners(shape.exterior), tuple(map(_corners, shape.interiors))) for shape in shapes]


def _corners(ring: Any) -> Ring:
    return [(int(x), int(y)) for x, y in ring.coords[:-1]]


def _rings(regions: NDArray[np.int32], offset: tuple[int, int]) -> Iterator[tuple[int, Ring]]:
    """Follow the borders of numbered regions, with the region on the right; the outermost pixels are of none, 0.

    Yields:
        The region that a ring belongs to, and its corners. No ring passes a corner twice.
    """
    width = regions.shape[1] + 1
    # Of each kind of edge: the neighbour that is not of the region, and where the edge starts from the pixel's corner.
    kinds = [((-1, 0), (0, 0)), ((0, 1), (0, 1)), ((1, 0), (1, 1)), ((0, -1), (1, 0))]
    steps = np.array([1, width, -1, -width])
    keys, owners = [], []
    for kind, (neighbour, (down, right)) in enumerate(kinds):
        beside = np.roll(regions, (-neighbour[0], -neighbour[1]), axis=(0, 1))
        y, x = np.nonzero((regions > 0) & (regions != beside))
        keys.append(((y + down) * width + x + right) * 4 + kind)
        owners.append(regions[y, x])
    key, owner = np.concatenate(keys), np.concatenate(owners)
    order = key.argsort()
    key, owner = key[order], owner[order]
    start, direction = key >> 2, key & 3
    end = start + steps[direction]
    # Where two pixels touch at a corner alone, a right turn stays with the pixel, so that regions remain apart. A left
    # turn goes on to the other one: within a region, the ring would else come back to the corner.
    following = np.full(len(key), -1)
    for turn in (1, 0, 3):
        wanted = end * 4 + (direction + turn) % 4
        place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        following = np.where((key[place] == wanted) & (owner[place] == owner), place, following)
    return _follow(following.tolist(), direction.tolist(), start.tolist(), owner.tolist(), width, offset)


def _follow(
    following: list[int],
    direction: list[int],
    start: list[int],
    owner: list[int],
    width: int,
    offset: tuple[int, int],
) -> Iterator[tuple[int, Ring]]:
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
        yield owner[first], ring


def _doubled_area(ring: Ring) -> int:
    """Return twice the area inside, positive for rings that are clockwise on a screen."""
    x, y = np.array(ring, dtype=np.int64).T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
