import json
import shutil

import numpy as np
from PIL import Image

from catseg.atomic import json_text
from catseg.data.formats import check_data
from tests.own_formats import HEIGHT, NAMES, WIDTH, bands, labelme, mask, photo, text


def data(root, maps, names=NAMES):
    """`maps`: label map by "split/name"."""
    for seed, (name, values) in enumerate(maps.items()):
        photo(root / "images" / f"{name}.png", seed)
        mask(root / "labels" / f"{name}.png", values)
    text(root / "classes.txt", "\n".join(names))
    return root


GOOD = {f"train/{k}": bands(0, 1, 2, 255) for k in range(4)} | {"val/x": bands(0, 1, 2, 2)}


def test_a_good_data_set(tmp_path):
    report = check_data(data(tmp_path, GOOD))
    assert (report.ok, report.problems, report.warnings, report.duplicates) == (True, [], [], [])
    train = report.splits["train"]
    assert (train.images, train.sizes, train.turned, train.ignored) == (4, {"16 x 12": 4}, 0, 0.25)
    assert [(one.name, one.pixels, round(one.share, 3), one.images) for one in train.classes] == [
        (name, 192, 0.333, 4) for name in NAMES
    ]
    assert json.loads(json_text(report.as_json()))["ok"] is True


def test_unknown_values_damaged_files_and_wrong_sizes_are_listed_together(tmp_path):
    data(tmp_path, GOOD)
    mask(tmp_path / "labels" / "train" / "0.png", bands(0, 9))
    (tmp_path / "images" / "train" / "1.png").write_bytes(b"no image")
    mask(tmp_path / "labels" / "train" / "2.png", bands(0, 1, size=(4, 4)))
    report = check_data(tmp_path)
    assert not report.ok
    assert len(report.problems) == 3
    assert "no class: 9 (96 pixels)" in report.problems[0]
    assert report.splits["train"].images == 4
    assert report.splits["train"].classes[0].images == 1


def test_the_same_image_in_both_splits(tmp_path):
    data(tmp_path, GOOD)
    shutil.copy(tmp_path / "images" / "train" / "0.png", tmp_path / "images" / "val" / "x.png")
    report = check_data(tmp_path)
    assert report.problems == ["1 image is in several splits: train: train/0 = val: val/x"]
    assert report.duplicates == [["train: train/0", "val: val/x"]]


def test_the_same_pixels_in_other_bytes(tmp_path):
    data(tmp_path, GOOD)
    with Image.open(tmp_path / "images" / "train" / "0.png") as image:
        image.save(tmp_path / "images" / "train" / "1.png", compress_level=0)
    report = check_data(tmp_path)
    assert report.ok
    assert "1 image is there several times: train/0 = train/1" in report.warnings


def test_classes_without_pixels_rare_classes_and_no_validation(tmp_path):
    maps = {f"train/{k}": bands(0, 0) for k in range(3)} | {"train/rare": bands(0, 1)}
    report = check_data(data(tmp_path, maps))
    assert report.ok
    assert any("no pixel of class 2 (night sky)" in warning for warning in report.warnings)
    assert any("1 class is in fewer than 3 training images: sofa" in warning for warning in report.warnings)
    assert any("no validation split" in warning for warning in report.warnings)


def test_masks_of_0_and_255_are_one_class_and_nothing_else(tmp_path):
    maps = {f"train/{k}": bands(0, 255) for k in range(3)} | {"val/x": bands(0, 255)}
    report = check_data(data(tmp_path, maps, ["background", "logo"]))
    assert not report.ok
    assert "all labelled pixels of the training images are 'background'" in report.problems[0]
    assert "if 255 is a class there, say so, by label_mapping" in report.problems[0]
    text(tmp_path / "classes.txt", "0: background\n255: logo")
    assert check_data(tmp_path).problems == []


def test_turned_images(tmp_path):
    photo(tmp_path / "a.jpg", orientation=6)
    photo(tmp_path / "b.jpg", 1, size=(WIDTH, HEIGHT))
    for name in ("a", "b"):
        points = [[0, 0], [11, 3]]
        labelme(tmp_path / f"{name}.json", f"{name}.jpg", [(name, "rectangle", points)], size=(WIDTH, HEIGHT))
    report = check_data(tmp_path)
    assert any("1 images are turned by their EXIF orientation" in warning for warning in report.warnings)
    train = report.splits["train"]
    assert (train.turned, train.sizes) == (1, {"12 x 16": 2})


def test_label_maps_that_are_all_ignored(tmp_path):
    maps = {f"train/{k}": np.full((HEIGHT, WIDTH), 255) for k in range(3)}
    assert "no training image has a labelled pixel" in check_data(data(tmp_path, maps)).problems


def test_a_validation_split_without_labels(tmp_path):
    report = check_data(data(tmp_path, GOOD | {"val/x": np.full((HEIGHT, WIDTH), 255)}))
    assert report.problems == ["no validation image has a labelled pixel, so that nothing can be evaluated"]


def test_no_labels_at_all(tmp_path):
    photo(tmp_path / "images" / "a.jpg")
    (tmp_path / "masks").mkdir()
    report = check_data(text(tmp_path / "data.yaml", "train: images\nmasks_dir: masks\nnames: [a, b]\n"))
    assert report.problems[1:] == ["there are no images with labels for training"]
    assert report.warnings == []


def test_equal_images_alone_make_no_validation_split(tmp_path):
    for name in ("a", "b"):
        photo(tmp_path / "images" / f"{name}.png")
        mask(tmp_path / "labels" / f"{name}.png", bands(0, 1))
    text(tmp_path / "classes.txt", "grass\nsofa")
    [problem] = check_data(tmp_path).problems
    assert "all images are equal, so that no validation split can be made of them" in problem
