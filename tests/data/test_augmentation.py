import numpy as np
import pytest
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st

from catseg.data.augmentation import PAD_VALUE, PadToSize, build_train_augmentations

OPTIONS = {
    "min_sizes": (48,),
    "max_size": 200,
    "min_size_sampling": "choice",
    "crop_size": (40, 56),
    "single_category_max_area": 1.0,
    "color": True,
    "flip": "horizontal",
    "ignore_label": 255,
}


def augment(image, labels, **changes):
    sample = T.AugInput(image, sem_seg=labels.astype(np.float32))
    transforms = T.AugmentationList(build_train_augmentations(**{**OPTIONS, **changes}))(sample)
    return sample.image, sample.sem_seg.astype(int), transforms


def drawing(height, width):
    values = np.random.default_rng(height * 1000 + width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return values, values[..., 0] % 7


def test_published_order():
    kinds = [type(augmentation).__name__ for augmentation in build_train_augmentations(**OPTIONS)]
    crop = "RandomCrop_CategoryAreaConstraint"
    assert kinds == ["ResizeShortestEdge", crop, "ColorAugSSDTransform", "RandomFlip", "PadToSize"]


@settings(max_examples=60)
@given(height=st.integers(1, 300), width=st.integers(1, 300), area=st.sampled_from([0.3, 1.0]))
def test_samples_have_the_crop_size(height, width, area):
    image, labels, _ = augment(*drawing(height, width), single_category_max_area=area)
    assert image.shape == (40, 56, 3)
    assert image.dtype == np.uint8
    assert labels.shape == (40, 56)
    assert set(np.unique(labels)) <= {*range(7), 255}


def test_labels_stay_under_their_pixels():
    labels = np.kron(np.random.default_rng(0).integers(0, 5, (12, 12)), np.ones((10, 10), dtype=int))
    image = np.repeat((labels * 50)[..., None], 3, axis=2).astype(np.uint8)
    seen = []
    for _ in range(20):
        image_crop, label_crop, _ = augment(image, labels, min_sizes=(120,), color=False)
        np.testing.assert_array_equal(image_crop[..., 0], label_crop * 50)
        seen.append(label_crop.tobytes())
    assert len(set(seen)) > 10


def test_small_images_are_padded_at_right_and_bottom():
    image, labels, _ = augment(*drawing(100, 20), max_size=50, crop_size=(64, 32), color=False)
    assert (image[50:] == PAD_VALUE).all()
    assert (image[:, 10:] == PAD_VALUE).all()
    assert (labels[50:] == 255).all()
    assert (labels[:, 10:] == 255).all()
    assert (labels[:50, :10] < 7).all()


def test_padding_alone():
    image, labels = drawing(5, 9)
    sample = T.AugInput(image, sem_seg=labels.astype(int))
    PadToSize(size=(7, 8), label_value=65535)(sample)
    assert sample.image.shape == (7, 9, 3)
    np.testing.assert_array_equal(sample.image[:5], image)
    np.testing.assert_array_equal(sample.sem_seg[5:], 65535)


def test_limit_on_one_class_is_kept_where_possible():
    labels = np.zeros((100, 400), dtype=int)
    labels[:, 200:] = np.random.default_rng(0).integers(1, 6, (100, 200))
    image = np.repeat(labels[..., None], 3, axis=2).astype(np.uint8)

    def largest_shares(limit):
        options = {"min_sizes": (100,), "max_size": 400, "crop_size": (80, 80), "single_category_max_area": limit}
        crops = [augment(image, labels, **options)[1] for _ in range(40)]
        return np.array([np.bincount(crop.ravel()).max() / crop.size for crop in crops])

    assert (largest_shares(1.0) > 0.75).mean() > 0.2
    assert (largest_shares(0.75) > 0.75).mean() < 0.1


def test_colours_change_and_labels_do_not():
    image, labels = drawing(48, 60)
    options = {"crop_size": (48, 60), "flip": "none"}
    results = [augment(image, labels, **options) for _ in range(10)]
    assert any((result[0] != image).any() for result in results)
    assert all((result[1] == labels).all() for result in results)
    plain = augment(image, labels, color=False, **options)
    np.testing.assert_array_equal(plain[0], image)


@pytest.mark.parametrize(("flip", "axis"), [("horizontal", 1), ("vertical", 0)])
def test_flips(flip, axis):
    image, labels = drawing(48, 60)
    results = [augment(image, labels, crop_size=(48, 60), color=False, flip=flip) for _ in range(20)]
    flipped = [(result[0] == np.flip(image, axis)).all() for result in results]
    assert 0 < sum(flipped) < 20
    for result, was_flipped in zip(results, flipped, strict=True):
        np.testing.assert_array_equal(result[1], np.flip(labels, axis) if was_flipped else labels)


def test_without_crop_images_stay_whole():
    image, labels, _ = augment(*drawing(60, 90), crop_size=None, color=False)
    assert image.shape == (48, 72, 3)
    assert labels.shape == (48, 72)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_size_sampling": "range"}, r"MIN_SIZE_TRAIN_SAMPLING.*got 'range' and \(48,\)"),
        ({"min_size_sampling": "any"}, "MIN_SIZE_TRAIN_SAMPLING.*got 'any'"),
        ({"flip": "both"}, "RANDOM_FLIP.*got 'both'"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build_train_augmentations(**{**OPTIONS, **changes})
