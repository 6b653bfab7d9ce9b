import importlib.util
import json
import logging

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from catseg.data.formats import TARGETS, convert, read_dataset, writers
from catseg.data.formats.outlines import outlines
from catseg.data.formats.shapes import paint, polygon_mask
from tests.own_formats import HEIGHT, WIDTH, mask, photo, text

NAMES = ["cat, kitten", "background", "Türe"]


def random_map(seed, labels=(0, 1, 2, 255)):
    coarse = np.random.default_rng(seed).choice(labels, (HEIGHT // 2, WIDTH // 2))
    return coarse.repeat(2, axis=0).repeat(2, axis=1)


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    for seed, name in enumerate(["train/a b", "train/sub/ü.v2", "train/c", "val/a b"]):
        photo(root / "images" / f"{name}.jpg", seed)
        mask(root / "labels" / f"{name}.png", random_map(seed))
    text(root / "classes.txt", "cat | kitten\nbackground\nTüre")
    return root


def label_maps(path, **options):
    found = read_dataset(path, **options)
    assert found.problems == ()
    return found, {split: [sample.label_map() for sample in samples] for split, samples in found.splits.items()}


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "ultralytics"])
def test_label_maps_survive(tmp_path, data, target):
    before, expected = label_maps(data)
    after, found = label_maps(convert(data, target, tmp_path / "out"))
    assert after.format == {"detectron2": "label-images"}.get(target, target)
    assert (list(after.vocabulary), list(after.splits)) == (NAMES, ["train", "val"])
    assert before.vocabulary == after.vocabulary
    for split, maps in expected.items():
        assert all(np.array_equal(one, other) for one, other in zip(maps, found[split], strict=True))
        pairs = zip(before.splits[split], after.splits[split], strict=True)
        assert all(one.image.read_bytes() == other.image.read_bytes() for one, other in pairs)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("names", [("#3", "# 4", "no"), ("1 euro", "2 euro", "3: c"), ('say "hi"', "a: b", "c, d")])
def test_names_survive(tmp_path, target, names):
    for split in ("train", "val"):
        photo(tmp_path / "data" / "images" / split / f"{split}.jpg", len(split))
        mask(tmp_path / "data" / "labels" / split / f"{split}.png", random_map(0, (0, 1, 2)))
    text(tmp_path / "data" / "classes.json", json.dumps(names))
    after, _ = label_maps(convert(tmp_path / "data", target, tmp_path / "out"))
    assert list(after.vocabulary)[:3] == list(names)


def test_polygons_of_ultralytics(tmp_path, data, caplog):
    for path in (data / "labels").rglob("*.png"):
        mask(path, random_map(len(path.name), (0, 1, 2)))
    _, expected = label_maps(data)
    after, found = label_maps(convert(data, "ultralytics", tmp_path / "out"))
    assert after.vocabulary == ["cat, kitten", "Türe", "background"]
    order = np.array([0, 2, 1])
    before, later = ([one for maps in labels.values() for one in maps] for labels in (expected, found))
    total = sum(int((order[one] != other).sum()) for one, other in zip(before, later, strict=True))
    stated = [record.args for record in caplog.records if record.name == writers.__name__]
    assert total == (stated[0][0] if stated else 0)
    assert total < 0.1 * 4 * HEIGHT * WIDTH


def test_ignored_pixels_are_stated_by_ultralytics(tmp_path, data, caplog):
    with caplog.at_level(logging.WARNING):
        convert(data, "ultralytics", tmp_path / "out")
    assert "were ignored, or lie in holes" in caplog.text


@pytest.mark.parametrize("seed", range(5))
def test_outlines_give_the_label_map_again(seed):
    labels = np.random.default_rng(seed).integers(0, 4, (15, 17))
    shapes = outlines(labels, range(4))
    masks = [(label, polygon_mask(corners, labels.shape)) for label, corners in shapes]
    assert np.array_equal(paint(masks, labels.shape, -1, smaller_on_top=False), labels)


def test_the_script_registers(tmp_path, data):
    folder = convert(data, "detectron2", tmp_path / "mine")
    spec = importlib.util.spec_from_file_location("mine_register", folder / "register.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    try:
        assert len(DatasetCatalog.get("mine_train")) == 3
        assert MetadataCatalog.get("mine_val").stuff_classes == NAMES
    finally:
        for name in ("mine_train", "mine_val"):
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def test_nothing_is_overwritten_or_left_behind(tmp_path, data):
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="is there already"):
        convert(data, "coco", tmp_path / "out")
    mask(data / "labels" / "train" / "c.png", np.full((HEIGHT, WIDTH), 7))
    with pytest.raises(ValueError, match=r"no class: 7 \(192 pixels\)"):
        convert(data, "coco", tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def test_what_cannot_be_converted(tmp_path, data):
    with pytest.raises(ValueError, match="unknown target 'xml': there are label-images"):
        convert(data, "xml", tmp_path / "out")
    (data / "labels" / "train" / "c.png").unlink()
    with pytest.raises(ValueError, match="cannot be converted as it is: 1 image has no label map"):
        convert(data, "coco", tmp_path / "out")
