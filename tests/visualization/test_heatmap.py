import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catseg.visualization import heatmap, score_grid

IMAGE = np.full((600, 800, 3), 100, dtype=np.uint8)


def test_scores_go_from_dark_to_yellow():
    scores = np.zeros((600, 800), dtype=np.float32)
    scores[:, 400:] = 1
    drawing = heatmap(IMAGE, scores).astype(int)
    low, high = drawing[300, 100], drawing[300, 700]
    assert high[:2].min() > low.max()
    assert high[2] < high[0]
    assert drawing.shape[0] == 600
    assert drawing.shape[1] > 800


def test_values_beyond_the_scale():
    scores = np.array([[-1.0, 0.0, np.nan, 2.0, 1.0]]).repeat(600, axis=0).repeat(160, axis=1)
    drawing = heatmap(IMAGE, scores)
    columns = drawing[300, 80:800:160]
    assert (columns[0] == columns[1]).all()
    assert (columns[2] == columns[1]).all()
    assert (columns[3] == columns[4]).all()


def test_half_precision_is_taken():
    scores = np.full((600, 800), 0.5)
    np.testing.assert_array_equal(heatmap(IMAGE, scores.astype(np.float16)), heatmap(IMAGE, scores))


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 700), width=st.integers(1, 700), classes=st.integers(1, 6))
def test_any_size(height, width, classes):
    image = np.zeros((height, width, 3), dtype=np.uint8)
    scores = np.full((classes, height, width), 0.5, dtype=np.float32)
    assert heatmap(image, scores[0]).shape[1] > width
    assert score_grid(image, scores, ["天空"] * classes).ndim == 3


def test_the_grid_has_a_tile_per_class():
    scores = np.zeros((5, 600, 800), dtype=np.float32)
    grid = score_grid(IMAGE, scores, list("abcde"))
    assert 4 * 360 < grid.shape[1] < 5 * 360
    assert 2 * 270 < grid.shape[0] < 3 * 270


def test_errors():
    with pytest.raises(ValueError, match=r"the map is \(1, 2\)"):
        heatmap(IMAGE, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="got 2 and 1"):
        score_grid(IMAGE, np.zeros((2, 600, 800)), ["a"])
    with pytest.raises(ValueError, match="got 0 and 0"):
        score_grid(IMAGE, np.zeros((0, 600, 800)), [])
