import numpy as np
import pytest
import torch
from detectron2.config import get_cfg

from catseg.config import add_catseg_config
from catseg.data.inference_sample import inference_resize, inference_sample


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 256
    return cfg


@pytest.mark.parametrize(("size", "expected"), [((32, 48), (64, 96)), ((200, 100), (128, 64)), ((20, 400), (13, 256))])
def test_the_shorter_side_has_its_length_unless_the_longer_is_too_long(cfg, size, expected):
    sample = inference_sample(np.full((*size, 3), 7, dtype=np.uint8), inference_resize(cfg))
    assert sample["image"].dtype == torch.uint8
    assert sample["image"].shape == (3, *expected)
    assert (sample["height"], sample["width"]) == size
    assert (sample["image"] == 7).all()


def test_0_leaves_images_as_they_are(cfg):
    cfg.INPUT.MIN_SIZE_TEST = 0
    image = np.random.default_rng(0).integers(0, 256, (30, 700, 3), dtype=np.uint8)
    image.flags.writeable = False
    sample = inference_sample(image, inference_resize(cfg))
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), image)


def test_an_image_of_which_nothing_would_be_left(cfg):
    with pytest.raises(ValueError, match=r"an image of 1 x 600 pixels is too narrow: .*INPUT\.MAX_SIZE_TEST"):
        inference_sample(np.zeros((600, 1, 3), dtype=np.uint8), inference_resize(cfg))


def test_another_order_of_channels_is_refused(cfg):
    cfg.INPUT.FORMAT = "BGR"
    with pytest.raises(ValueError, match=r"INPUT\.FORMAT must be RGB.*'BGR'"):
        inference_resize(cfg)
