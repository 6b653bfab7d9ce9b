import json

import numpy as np
import pytest
from pycocotools import mask as rle_masks

from catseg.data.formats import read_dataset
from tests.own_formats import HEIGHT, WIDTH, bands, coco, coloured, photo, text

LEFT = [0, 0, 8, 0, 8, HEIGHT, 0, HEIGHT]
CATEGORIES = {17: "cat", 3: "sofa", 90: "night sky"}


def rle(values, *, compressed):
    found = rle_masks.encode(np.asfortranarray(values.astype(np.uint8)))
    if compressed:
        return {"size": found["size"], "counts": found["counts"].decode()}
    flat = values.astype(np.uint8).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return {"size": list(values.shape), "counts": [0, *counts] if flat[0] else counts}


def small(root, annotations, *, name="a.jpg", stated=(HEIGHT, WIDTH), **image):
    photo(root / "images" / "a.jpg", **image)
    return coco(root / "annotations" / "instances_train.json", [(5, name, *stated)], annotations, CATEGORIES)


def labels_of(path, **options):
    [(_, sample)] = read_dataset(path, **options).samples
    return sample.label_map()


def test_classes_are_in_the_order_of_their_ids(tmp_path):
    small(tmp_path, [(5, 17, [LEFT])])
    for path in (tmp_path, tmp_path / "annotations" / "instances_train.json"):
        data = read_dataset(path)
        assert (data.format, data.vocabulary, data.problems) == ("coco", ["sofa", "cat", "night sky"], ())
        assert list(data.splits) == ["train"]
        assert np.array_equal(labels_of(path), bands(1, 255))
    assert np.array_equal(labels_of(tmp_path, unlabelled="other"), bands(1, 3))


@pytest.mark.parametrize("compressed", [True, False])
def test_rle(tmp_path, compressed):
    small(tmp_path, [(5, 90, rle(bands(1, 0, 1, 0), compressed=compressed))])
    assert np.array_equal(labels_of(tmp_path), bands(2, 255, 2, 255))


def test_smaller_ones_are_on_top_and_parts_are_joined(tmp_path):
    small_part, everything = [0, 0, 4, 0, 4, 12, 0, 12], [-5, -5, 50, -5, 50, 50, -5, 50]
    small(tmp_path, [(5, 3, [small_part, [8, 0, 12, 0, 12, 12, 8, 12]]), (5, 17, [everything])])
    assert np.array_equal(labels_of(tmp_path), bands(0, 1, 0, 1))


def test_an_image_without_annotations_is_unlabelled(tmp_path):
    small(tmp_path, [])
    assert (labels_of(tmp_path) == 255).all()


def test_annotations_without_segmentation(tmp_path):
    small(tmp_path, [(5, 3, [LEFT]), (5, 17, []), (5, 17, [[1, 2, 3, 4]])])
    assert "2 annotations have no segmentation" in read_dataset(tmp_path).warnings[0]
    assert "2 annotations have no segmentation" in read_dataset(tmp_path, unlabelled="other").problems[0]


@pytest.mark.parametrize(("stated", "turned"), [((WIDTH, HEIGHT), False), ((HEIGHT, WIDTH), True)])
def test_the_stated_size_tells_which_way_round_it_was_drawn(tmp_path, stated, turned):
    top = [0, 0, stated[1], 0, stated[1], 3, 0, 3]
    small(tmp_path, [(5, 3, [top])], stated=stated, orientation=6)
    labels = labels_of(tmp_path)
    assert labels.shape == (WIDTH, HEIGHT)
    expected = np.full((WIDTH, HEIGHT), 255)
    if turned:
        expected[:, -3:] = 0  # orientation 6 turns the stored image clockwise
    else:
        expected[:3] = 0
    assert np.array_equal(labels, expected)


def test_a_size_that_fits_neither_way(tmp_path):
    small(tmp_path, [(5, 3, [LEFT])], stated=(100, 100))
    with pytest.raises(ValueError, match="is of an image of 100 x 100 pixels, but the image has 16 x 12"):
        labels_of(tmp_path)


def test_paths_of_windows_and_folders_of_splits(tmp_path):
    photo(tmp_path / "train2017" / "deep" / "ü 1.jpg")
    photo(tmp_path / "val2017" / "2.jpg", seed=1)
    folder = tmp_path / "annotations"
    coco(folder / "instances_train2017.json", [(1, r"deep\ü 1.jpg", HEIGHT, WIDTH)], [(1, 3, [LEFT])], CATEGORIES)
    coco(folder / "instances_val2017.json", [(1, "2.jpg", HEIGHT, WIDTH)], [(1, 17, [LEFT])], CATEGORIES)
    text(folder / "captions_val2017.json", json.dumps({"images": [], "annotations": []}))
    data = read_dataset(tmp_path)
    assert {split: [sample.name for sample in samples] for split, samples in data.splits.items()} == {
        "train": ["deep/ü 1"],
        "val": ["2"],
    }


def test_files_of_roboflow(tmp_path):
    for split, seed in (("train", 0), ("valid", 1)):
        photo(tmp_path / split / "a.jpg", seed)
        coco(tmp_path / split / "_annotations.coco.json", [(0, "a.jpg", HEIGHT, WIDTH)], [(0, 3, [LEFT])], CATEGORIES)
    assert list(read_dataset(tmp_path).splits) == ["train", "val"]


def test_missing_images_and_unknown_categories(tmp_path):
    small(tmp_path, [(5, 3, [LEFT])], name="b.jpg")
    assert "1 image of" in read_dataset(tmp_path).problems[0]
    small(tmp_path, [(5, 4, [LEFT])])
    with pytest.raises(ValueError, match=r"a\.jpg has the category 4"):
        read_dataset(tmp_path)


def test_panoptic(tmp_path):
    photo(tmp_path / "images" / "a.jpg")
    coloured(tmp_path / "panoptic_val" / "a.png", bands(0, 1, 2, 2), [(0, 0, 0), (5, 1, 0), (0, 0, 1)])
    segments = [{"id": 5 + 256, "category_id": 17}, {"id": 65536, "category_id": 3}]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": segments}],
        "categories": [{"id": number, "name": name} for number, name in CATEGORIES.items()],
    }
    text(tmp_path / "panoptic_val.json", json.dumps(content))
    data = read_dataset(tmp_path)
    assert list(data.splits) == ["val"]
    assert np.array_equal(data.samples[0][1].label_map(), bands(255, 1, 0, 0))


@pytest.mark.parametrize(
    ("where", "folder"),
    [
        ("annotations/instances_{}.json", "{}"),
        ("annotations/instances_{}.json", "images/{}"),
        ("{}.json", "images/{}"),
        ("{}/_annotations.coco.json", "{}"),
    ],
)
def test_images_of_one_name_in_several_splits(tmp_path, where, folder):
    for seed, split in enumerate(("train", "val", "test")):
        photo(tmp_path / folder.format(split) / "a.png", seed)
        coco(tmp_path / where.format(split), [(1, "a.png", HEIGHT, WIDTH)], [(1, 1, [LEFT])], {1: "cat"})
    data = read_dataset(tmp_path)
    assert data.problems == ()
    assert [(split, sample.image) for split, sample in data.samples] == [
        (split, tmp_path / folder.format(split) / "a.png") for split in ("train", "val", "test")
    ]


def test_images_that_have_an_address_alone(tmp_path):
    photo(tmp_path / "train2017" / "1.jpg")
    file = coco(tmp_path / "lvis_v1_val.json", [(1, "", HEIGHT, WIDTH)], [(1, 1, [LEFT])], {1: "cat"})
    content = json.loads(file.read_text())
    del content["images"][0]["file_name"]
    content["images"][0]["coco_url"] = "http://images.cocodataset.org/train2017/1.jpg"
    text(file, json.dumps(content))
    [(split, sample)] = read_dataset(file).samples
    assert (split, sample.name, sample.image) == ("val", "train2017/1", tmp_path / "train2017" / "1.jpg")


def test_the_first_category_of_roboflow_is_no_class(tmp_path):
    """It is named after the project, which may be named after its class."""
    file = small(tmp_path, [(5, 17, [LEFT])])
    content = json.loads(file.read_text())
    for name, names in (("pets", ["cat"]), ("cat", ["cat"])):
        group = {"id": 0, "name": name, "supercategory": "none"}
        content["categories"] = [group, {"id": 17, "name": "cat", "supercategory": name}]
        text(file, json.dumps(content))
        assert read_dataset(file).vocabulary == names
    content["annotations"].append(content["annotations"][0] | {"id": 9, "category_id": 0})
    text(file, json.dumps(content))
    assert np.array_equal(labels_of(file), bands(0, 255))
