import numpy as np
import pytest

from catseg.api.polygons import polygons


def filled(ring, shape):
    """The pixels whose centres are inside a ring, by the even-odd rule."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, dtype=int)
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if y0 != y1:
            crosses = (y >= min(y0, y1)) & (y < max(y0, y1))
            inside += crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside % 2 == 1


@pytest.mark.parametrize("density", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(5))
def test_polygons_cover_the_mask_and_nothing_else(density, seed):
    random = np.random.default_rng(seed)
    mask = random.random(random.integers(1, 14, size=2)) < density
    covered = np.zeros(mask.shape, dtype=int)
    for polygon in polygons(mask):
        inside = filled(polygon.outline, mask.shape)
        for hole in polygon.holes:
            inside &= ~filled(hole, mask.shape)
        covered += inside
        np.testing.assert_array_equal(filled(polygon.as_one_ring(), mask.shape), inside)
    np.testing.assert_array_equal(covered, mask.astype(int))


def test_corners():
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:5] = True
    (polygon,) = polygons(mask)
    assert sorted(polygon.outline) == [(2, 1), (2, 3), (5, 1), (5, 3)], "and none in between"
    assert polygon.holes == ()


def test_regions_that_touch_at_a_corner_are_apart():
    assert len(polygons(np.eye(3, dtype=bool))) == 3


def test_a_hole():
    mask = np.ones((5, 5), dtype=bool)
    mask[2, 2] = False
    (polygon,) = polygons(mask)
    assert [sorted(hole) for hole in polygon.holes] == [[(2, 2), (2, 3), (3, 2), (3, 3)]]


def test_nothing():
    assert polygons(np.zeros((3, 4), dtype=bool)) == []
