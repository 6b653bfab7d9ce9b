import numpy as np
import pytest

from catseg.label_coverage import LabelCoverage

NAMES = ["ground", "patch", "sky"]


def warning(pixels, ignored=0, *, looked_at=4, label_maps=4):
    coverage = LabelCoverage(looked_at, np.array(pixels), ignored)
    return coverage.warning("mine", NAMES[: len(pixels)], ignore_label=255, label_maps=label_maps)


@pytest.mark.parametrize(
    ("pixels", "ignored", "expected"),
    [
        ([5, 5, 5], 14, None),
        (
            [79, 0],
            21,
            "mine: no pixel of class 1 (patch) in 4 label maps; 21 % of the pixels have the ignored value 255",
        ),
        (
            [0, 4, 0],
            0,
            "mine: no pixel of 2 of the 3 classes in 4 label maps: 0 (ground), 2 (sky); "
            "0 % of the pixels have the ignored value 255",
        ),
        ([1, 1, 1], 9, "mine: 75 % of the pixels have the ignored value 255 in 4 label maps"),
    ],
)
def test_what_is_missing_is_said(pixels, ignored, expected):
    assert warning(pixels, ignored) == expected


def test_a_sample_need_not_hold_every_class():
    assert warning([5, 5, 0], label_maps=100) is None
    assert "no pixel of 2 of the 3 classes in 4 of 100 label maps" in warning([5, 0, 0], label_maps=100)
    assert "no pixel of class 1 (patch) in 4 of 100 label maps" in warning([5, 0], label_maps=100)
