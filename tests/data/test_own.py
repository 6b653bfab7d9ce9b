import json
import logging

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from catseg.atomic import cache_folder
from catseg.data.checks import check_dataset, check_label_maps
from catseg.data.formats import prepared
from catseg.data.own import register_configured, register_own
from catseg.label_io import read_classes
from tests.own_formats import HEIGHT, NAMES, WIDTH, bands, coco, coloured, mask, photo, text


@pytest.fixture(autouse=True)
def _clean_catalogues():
    yield
    for name in [name for name in DatasetCatalog.list() if name.startswith("own_")]:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def label_images(root, count=4, splits=("train", "val")):
    for split in splits:
        for k in range(count):
            photo(root / "images" / split / f"{k}.png", seed=100 * len(split) + k)
            mask(root / "labels" / split / f"{k}.png", bands(0, 1, 2, 255))
    text(root / "classes.txt", "\n".join(NAMES))
    return root


def test_label_maps_are_registered_as_they_are(tmp_path):
    names = register_own(label_images(tmp_path / "My data"))
    assert names == ["own_my_data_train", "own_my_data_val"]
    for name in names:
        check_dataset(name)
        check_label_maps(name, coverage=True)
    metadata = MetadataCatalog.get(names[0])
    assert (metadata.stuff_classes, metadata.ignore_label, metadata.evaluator_type) == (NAMES, 255, "sem_seg")
    assert DatasetCatalog.get(names[0])[0]["sem_seg_file_name"].startswith(str(tmp_path))


def test_other_labels_are_made_once(tmp_path, monkeypatch):
    root = tmp_path / "data"
    for split in ("train", "val"):
        photo(root / "images" / split / "a.png", seed=len(split))
        coloured(root / "masks" / split / "a.png", bands(0, 1), [(9, 9, 9), (0, 0, 0)])
    text(root / "colors.txt", "sofa 9 9 9\nvoid 0 0 0")
    [train, _] = register_own(root)
    [record] = DatasetCatalog.get(train)
    assert np.array_equal(read_classes(record["sem_seg_file_name"], num_classes=1, ignore_label=255), bands(0, 255))

    def fail(*_):
        raise AssertionError("made twice")

    monkeypatch.setattr(prepared, "write_label_map", fail)
    assert register_own(root)[0] == train
    assert DatasetCatalog.get(train) == [record]
    monkeypatch.undo()
    coloured(root / "masks" / "train" / "a.png", bands(1, 0), [(9, 9, 9), (0, 0, 0)])
    register_own(root)
    labels = read_classes(DatasetCatalog.get(train)[0]["sem_seg_file_name"], num_classes=1, ignore_label=255)
    assert np.array_equal(labels, bands(255, 0))


def test_many_classes_take_16_bits(tmp_path):
    categories = {number: f"class number {number}" for number in range(300)}
    for split in ("train", "val"):
        photo(tmp_path / split / "a.png", seed=len(split))
        left = [0, 0, 8, 0, 8, HEIGHT, 0, HEIGHT]
        images = [(1, "a.png", HEIGHT, WIDTH)]
        coco(tmp_path / "annotations" / f"instances_{split}.json", images, [(1, 299, [left])], categories)
    [train, _] = register_own(tmp_path)
    assert MetadataCatalog.get(train).ignore_label == 65535
    labels = read_classes(DatasetCatalog.get(train)[0]["sem_seg_file_name"], num_classes=300, ignore_label=65535)
    assert np.array_equal(labels, bands(299, 65535))


def test_a_validation_split_is_made_stated_and_written_down(tmp_path, caplog):
    root = label_images(tmp_path / "data", 20, ("train",))
    (root / "images" / "train" / "3.png").write_bytes((root / "images" / "train" / "7.png").read_bytes())
    with caplog.at_level(logging.WARNING):
        [train, val] = register_own(root)
    assert "2 of its 20 training images" in caplog.text or "3 of its 20 training images" in caplog.text
    chosen = {record["file_name"] for record in DatasetCatalog.get(val)}
    rest = {record["file_name"] for record in DatasetCatalog.get(train)}
    assert len(chosen | rest) == 20
    assert not chosen & rest
    equal = {str(root / "images" / "train" / f"{k}.png") for k in (3, 7)}
    assert equal <= chosen or equal <= rest, "equal images are in one split"
    [file] = (cache_folder("validation_splits")).iterdir()
    assert len(json.loads(file.read_text())["val"]) == len(chosen)
    register_own(root)
    assert {record["file_name"] for record in DatasetCatalog.get(val)} == chosen


def test_one_image_cannot_be_split(tmp_path):
    with pytest.raises(ValueError, match="no validation split, and none can be made"):
        register_own(label_images(tmp_path / "data", 1, ("train",)))


def test_problems_are_refused_and_unknown_values_listed(tmp_path):
    root = label_images(tmp_path / "data")
    mask(root / "labels" / "train" / "1.png", bands(0, 5))
    mask(root / "labels" / "train" / "2.png", bands(6, 6))
    with pytest.raises(ValueError, match=r"2 of 4 label maps .* 5 \(96 pixels\).* 6 \(192 pixels\)"):
        register_own(root)
    (root / "labels" / "train" / "1.png").unlink()
    with pytest.raises(ValueError, match="cannot be used as it is: 1 image has no label map: train/1"):
        register_own(root)


def test_two_data_sets_of_one_name(tmp_path):
    register_own(label_images(tmp_path / "a" / "data"))
    with pytest.raises(ValueError, match="would both be registered as own_data_train: rename one"):
        register_own(label_images(tmp_path / "b" / "data"))


def test_several_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("catseg.data.parallel._FEW", 1)
    assert len(register_own(label_images(tmp_path / "data"), workers=2)) == 2


def test_data_of_the_config_are_registered_once(tmp_path, monkeypatch):
    root = label_images(tmp_path / "data")
    register_configured([str(root)])
    assert "own_data_train" in DatasetCatalog.list()
    monkeypatch.setattr("catseg.data.own.read_dataset", None)  # not read again, by whatever name
    monkeypatch.chdir(tmp_path)
    register_configured([str(root), "data"])
