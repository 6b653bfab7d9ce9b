"""Segmentations of COCO, against pycocotools where that is safe."""

import numpy as np
import pytest
from pycocotools import mask as rle_masks

from catseg.data.formats.segmentations import is_empty, segmentation_mask

SIZE = (30, 47)
CORNERS = [3.0, 4.0, 40.0, 6.0, 20.0, 25.0]


def blobs(seed, share=0.5):
    return np.random.default_rng(seed).random(SIZE) < share


def compressed(mask):
    return {"size": list(mask.shape), "counts": rle_masks.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]}


def runs(mask):
    flat = np.concatenate([[False], mask.T.ravel()])
    places = np.flatnonzero(np.diff(flat.astype(int))).tolist()
    return {"size": list(mask.shape), "counts": np.diff([0, *places, mask.size]).tolist()}


MASKS = [blobs(0), blobs(1, 0.02), blobs(2, 0.98), np.zeros(SIZE, bool), np.ones(SIZE, bool)]


@pytest.mark.parametrize("mask", MASKS)
def test_run_lengths(mask):
    text = compressed(mask)
    for segmentation in (text, text | {"counts": text["counts"].decode()}, runs(mask)):
        assert np.array_equal(segmentation_mask(segmentation, SIZE, "a.jpg"), mask)


def test_run_lengths_of_a_large_image():
    mask = np.zeros((3000, 4000), bool)
    mask[100:2000, 50:3999] = True
    assert np.array_equal(segmentation_mask(compressed(mask), mask.shape, "a.jpg"), mask)


@pytest.mark.parametrize("segmentation", [[CORNERS], CORNERS, [CORNERS, [1, 1, 2, 2]]])
def test_polygons(segmentation):
    expected = rle_masks.decode(rle_masks.frPyObjects([CORNERS], *SIZE))[..., 0]
    assert np.array_equal(segmentation_mask(segmentation, SIZE, "a.jpg"), expected)
    assert not is_empty(segmentation)


@pytest.mark.parametrize("segmentation", [None, [], [[]], [[1, 1, 2, 2]], {}, "x", 3])
def test_nothing(segmentation):
    assert is_empty(segmentation)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[None, 5, 10, 5, 10, 10]], "numbers all of them"),
        ([[float("nan"), 5, 10, 5, 10, 10]], "numbers all of them"),
        ([[1, 5, 10, 5, 10, 10, 3]], "x and y of each corner"),
        ([[1, 5, 1e12, 5, 10, 10]], r"a corner at 1e\+12, the image is of 47 x 30"),
        ({"size": list(SIZE), "counts": [0, 5]}, "add up to 1410"),
        ({"size": list(SIZE), "counts": []}, "add up to 1410"),
        ({"size": list(SIZE), "counts": [-5, 1415]}, "add up to 1410"),
        ({"size": list(SIZE), "counts": [0.5, 1409.5]}, "add up to 1410"),
        ({"size": list(SIZE), "counts": compressed(np.ones((4, 6), bool))["counts"]}, "add up to 1410"),
        ({"size": list(SIZE), "counts": ""}, "not in COCO's compressed form"),
        ({"size": list(SIZE), "counts": "no run lengths"}, "not in COCO's compressed form"),
        ({"size": list(SIZE), "counts": "ooooooooo0"}, "larger than any image"),
        ({"size": list(SIZE), "counts": "ü"}, "not in COCO's compressed form"),
        ({"size": list(SIZE), "counts": 5}, "cannot be read"),
        ({"size": [47, 30], "counts": [0, 1410]}, "it is of 30 x 47 pixels, the image of 47 x 30"),
        ({"counts": [0, 1410]}, "cannot be read"),
    ],
)
def test_what_cannot_be_read(segmentation, message):
    """None of it exhausts the memory or gives a mask of chance."""
    with pytest.raises(ValueError, match=message):
        segmentation_mask(segmentation, SIZE, "a.jpg")
