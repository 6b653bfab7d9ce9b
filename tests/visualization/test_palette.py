import cv2
import numpy as np
import pytest

from catseg.visualization.palette import IGNORED_COLOR, palette


def test_shape_and_type():
    for n in (0, 1, 10, 11, 150):
        colors = palette(n)
        assert colors.shape == (n, 3)
        assert colors.dtype == np.uint8


def test_a_class_keeps_its_colour_for_any_number_of_classes():
    many = palette(847)
    for n in (1, 9, 12, 171, 400):
        np.testing.assert_array_equal(palette(n), many[:n])


def test_colours_are_distinct():
    assert len(np.unique(palette(847), axis=0)) == 847
    # In CIELAB a distance of about 2.3 is just noticeable.
    lab = cv2.cvtColor(palette(150)[None].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e3 * np.eye(150)
    assert distances.min() > 8


def test_colours_are_never_grey():
    distances = np.abs(palette(847).astype(int) - np.array(IGNORED_COLOR)).max(axis=1)
    assert distances.min() > 15


def test_the_first_colours_stay_what_they_are():
    assert palette(14)[[0, 9, 10, 13]].tolist() == [[31, 119, 180], [255, 215, 64], [220, 220, 176], [66, 110, 77]]


def test_changing_the_result_does_not_change_the_palette():
    colors = palette(20)
    colors[:] = 0
    assert palette(20).any()


def test_more_classes_than_colours_repeat():
    colors = palette(65535)
    assert colors.shape == (65535, 3)


def test_negative():
    with pytest.raises(ValueError, match="got -1"):
        palette(-1)
