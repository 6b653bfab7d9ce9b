import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from catseg.api.polygons import polygons, without_crumbs

needs_shapely = pytest.mark.skipif(
    find_spec("shapely") is None,
    reason="shapely, which simplifies polygons and tells which are valid, is not installed",
)


def drawn(*rows: str) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


DONUT = drawn("#####", "#...#", "#...#", "#####")
SPIRAL = drawn(
    "########", ".......#", "######.#", "#....#.#", "#.##.#.#", "#.#..#.#", "#.####.#", "#......#", "########"
)
PINCHED = drawn("###", "#.#", "##.")  # the hole touches the outside at a corner
CHAIN = drawn("######", "#.####", "##.###", "###.##", "######")  # holes that touch one another
ROOMS = drawn("#######", "#.#.#.#", "#######", "#.#.#.#", "#######")
DIAGONAL = np.eye(3, dtype=bool)

pixels = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))
coarse = st.tuples(pixels, st.integers(2, 4)).map(lambda pair: np.kron(pair[0], np.ones((pair[1],) * 2, dtype=bool)))
speckled = st.tuples(coarse, st.randoms(use_true_random=False)).map(lambda pair: with_crumbs(*pair))
masks = pixels | coarse | speckled


def with_crumbs(mask, random):
    mask = mask.copy()
    for _ in range(mask.size // 16):
        mask[random.randrange(mask.shape[0]), random.randrange(mask.shape[1])] ^= True
    return mask


def on_examples(test):
    for mask in (DONUT, SPIRAL, PINCHED, CHAIN, ROOMS, DIAGONAL, drawn("#"), drawn(".")):
        test = example(mask=mask)(test)
    return given(mask=masks)(settings(max_examples=150)(test))


def filled(ring, shape):
    """The pixels whose centres are inside a ring, by the even-odd rule."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, dtype=int)
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if y0 != y1:
            crosses = (y >= min(y0, y1)) & (y < max(y0, y1))
            inside += crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside % 2 == 1


def covered(found, shape):
    """How many of the polygons cover each pixel."""
    count = np.zeros(shape, dtype=int)
    for polygon in found:
        count += filled(polygon.outline, shape) & ~sum(
            (filled(hole, shape) for hole in polygon.holes), np.zeros(shape, bool)
        )
    return count


def geometries(found):
    import shapely

    return [shapely.Polygon(polygon.outline, polygon.holes) for polygon in found]


@pytest.mark.parametrize("holes", [True, False])
@on_examples
def test_polygons_cover_the_mask_and_nothing_else(holes, mask):
    np.testing.assert_array_equal(covered(polygons(mask, holes=holes), mask.shape), mask.astype(int))


@needs_shapely
@pytest.mark.parametrize("holes", [True, False])
@pytest.mark.parametrize("tolerance", [0, 0.5, 1, 2, 5])
@on_examples
def test_polygons_are_valid(holes, tolerance, mask):
    for geometry in geometries(polygons(mask, holes=holes, tolerance=tolerance)):
        assert geometry.is_valid
        assert geometry.area > 0


@needs_shapely
@pytest.mark.parametrize("tolerance", [0.5, 1, 2, 5])
@on_examples
def test_simplified_borders_stay_within_the_tolerance(tolerance, mask):
    exact, near = polygons(mask), polygons(mask, tolerance=tolerance)
    assert [len(polygon.holes) for polygon in exact] == [len(polygon.holes) for polygon in near]
    for one, other in zip(geometries(exact), geometries(near), strict=True):
        assert one.boundary.hausdorff_distance(other.boundary) <= tolerance + 1e-9
        assert len(other.exterior.coords) <= len(one.exterior.coords)


@on_examples
def test_without_holes_there_are_none(mask):
    whole, pieces = polygons(mask), polygons(mask, holes=False)
    assert not any(polygon.holes for polygon in pieces)
    assert len(pieces) >= len(whole)
    if not any(polygon.holes for polygon in whole):
        assert pieces == whole


@pytest.mark.parametrize(("mask", "count"), [(DONUT, 2), (SPIRAL, 1), (PINCHED, 3), (ROOMS, 7)])
def test_pieces(mask, count):
    assert len(polygons(mask)) == 1
    assert len(polygons(mask, holes=False)) == count


@pytest.mark.parametrize("pixels", [0, 1, 2, 5, 1000])
@on_examples
def test_crumbs(pixels, mask):
    kept = without_crumbs(mask, pixels)
    for polygon in polygons(kept):
        assert filled(polygon.outline, mask.shape).sum() >= pixels
        assert all(filled(hole, mask.shape).sum() >= pixels for hole in polygon.holes)
    np.testing.assert_array_equal(without_crumbs(kept, pixels), kept)
    if pixels <= 1:
        np.testing.assert_array_equal(kept, mask)


def test_crumbs_and_holes_by_size():
    mask = drawn("####.##", "#.##...", "####..#", "####...")
    np.testing.assert_array_equal(without_crumbs(mask, 2), drawn("####.##", "####...", "####...", "####..."))
    np.testing.assert_array_equal(without_crumbs(mask, 3), drawn("####...", "####...", "####...", "####..."))


def test_many_holes_are_cut_at_once():
    mask = np.random.default_rng(0).random((400, 400)) < 0.9
    pieces = polygons(mask, holes=False)
    assert not any(polygon.holes for polygon in pieces)
    assert len(pieces) < 2 * (~mask).sum()


def test_corners():
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:5] = True
    (polygon,) = polygons(mask)
    assert sorted(polygon.outline) == [(2, 1), (2, 3), (5, 1), (5, 3)], "and none in between"
    assert polygon.holes == ()


def test_regions_that_touch_at_a_corner_are_apart():
    assert len(polygons(DIAGONAL)) == 3


def test_a_hole_that_touches_the_outside_at_a_corner():
    (polygon,) = polygons(PINCHED)
    assert [sorted(hole) for hole in polygon.holes] == [[(1, 1), (1, 2), (2, 1), (2, 2)]]
    assert len(set(polygon.outline)) == len(polygon.outline)


def test_order():
    mask = drawn("..#", "#..", "..#")
    assert [min(polygon.outline) for polygon in polygons(mask)] == [(2, 0), (0, 1), (2, 2)]


@needs_shapely
def test_simplified_diagonal():
    (polygon,) = polygons(np.tri(40, dtype=bool), tolerance=2)
    assert len(polygon.outline) < 8, "of 81 corners"


@pytest.mark.parametrize("tolerance", [-1, float("nan")])
def test_wrong_tolerance(tolerance):
    with pytest.raises(ValueError, match=f"0 or more, got {tolerance}"):
        polygons(DONUT, tolerance=tolerance)
    with pytest.raises(ValueError, match="min_pixels is a number of pixels"):
        without_crumbs(DONUT, -1)


def test_tolerance_without_shapely(monkeypatch):
    monkeypatch.setitem(sys.modules, "shapely", None)
    with pytest.raises(RuntimeError, match=r"pip install catseg\[polygons\]"):
        polygons(DONUT, tolerance=1)
    assert polygons(DONUT)
