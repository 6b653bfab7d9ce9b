import numpy as np
import pytest

from catseg.visualization import side_by_side
from catseg.visualization.canvas import enlarge, join


def filled(height, width, value):
    return np.full((height, width, 3), value, dtype=np.uint8)


def test_join_fills_with_white():
    joined = join([filled(2, 3, 1), filled(4, 1, 2)], axis=1, gap=1)
    assert joined.shape == (4, 5, 3)
    assert joined[:, :, 0].tolist() == [[1, 1, 1, 255, 2], [1, 1, 1, 255, 2], [255] * 4 + [2], [255] * 4 + [2]]


def test_side_by_side_below_if_wide():
    assert side_by_side([filled(600, 600, 0)] * 2, ["a", "b"]).shape[1] > 1200
    wide = side_by_side([filled(200, 600, 0)] * 2, ["a", "b"])
    assert wide.shape[1] == 600
    assert wide.shape[0] > 400


def test_side_by_side_enlarges_small_images():
    assert side_by_side([filled(64, 64, 0)], ["天空"]).shape[1] == 512


def test_side_by_side_errors():
    with pytest.raises(ValueError, match="got 1 images and 2 titles"):
        side_by_side([filled(4, 4, 0)], ["a", "b"])
    with pytest.raises(ValueError, match="got 0 images"):
        side_by_side([], [])


def test_enlarge():
    assert enlarge(filled(1, 1, 7)).shape == (512, 512, 3)
    assert enlarge(filled(500, 300, 7)).shape == (1000, 600, 3)
    large = filled(512, 3, 7)
    assert enlarge(large) is large
