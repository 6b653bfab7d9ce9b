"""A data set whose labels are drawn on stored rows and columns is the same as one whose files have no EXIF data."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from catseg.engine.evaluate import build_test_loader, evaluate
from catseg.engine.ranked_images import RankedImages, draw_images
from catseg.engine.trainer import Trainer
from catseg.evaluation.sem_seg_evaluator import SemSegEvaluator
from tests.tiny import tiny_model

CLASSES = ["wall", "building, edifice", "sky"]
NAMES = ("without_exif", "stored", "as_by_default")


@pytest.fixture
def datasets(tmp_path):
    """Three data sets of the same images and labels; the files of the last two say that they are to be turned."""
    for name in NAMES:
        made = write_files(tmp_path / name, with_exif=name != "without_exif")
        DatasetCatalog.register(name, lambda made=made: made)
        MetadataCatalog.get(name).set(stuff_classes=CLASSES, ignore_label=255)
    MetadataCatalog.get("stored").set(ignore_exif_orientation=True)
    yield
    for name in NAMES:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def write_files(folder: Path, *, with_exif: bool) -> list[dict[str, str]]:
    folder.mkdir()
    generator = np.random.default_rng(0)
    records = []
    for index, orientation in enumerate((6, 3)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        labels = np.kron(generator.integers(0, 3, (5, 8)), np.ones((16, 16), dtype=int)).astype(np.uint8)
        image = Image.fromarray(generator.integers(0, 256, (*labels.shape, 3), dtype=np.uint8))
        image.save(folder / f"{index}.jpg", **({"exif": exif} if with_exif else {}))
        Image.fromarray(labels).save(folder / f"{index}.png")
        records.append({"file_name": f"{folder}/{index}.jpg", "sem_seg_file_name": f"{folder}/{index}.png"})
    return records


def test_evaluation_and_overlays(datasets, toy_config, tmp_path):
    cfg = toy_config(DATASETS__TEST=NAMES[:2], TEST__SAVE_PREDICTIONS="overlays")
    results = evaluate(cfg, tiny_model(tmp_path), weights="random")
    assert results["stored"]["sem_seg"] == pytest.approx(results["without_exif"]["sem_seg"], nan_ok=True)
    overlays = {name: sorted((tmp_path / "output/evaluation" / name).rglob("*.jpg")) for name in NAMES[:2]}
    assert len(overlays["stored"]) == 2
    for ours, plain in zip(overlays["stored"], overlays["without_exif"], strict=True):
        assert ours.read_bytes() == plain.read_bytes()


def test_training(datasets, toy_config):
    batches = []
    for name in NAMES[:2]:
        loader = iter(Trainer.build_train_loader(toy_config(DATASETS__TRAIN=(name,))))
        batches.append(next(loader))
    for ours, plain in zip(*batches, strict=True):
        assert torch.equal(ours["image"], plain["image"])
        assert torch.equal(ours["sem_seg"], plain["sem_seg"])


def test_worst_images(datasets, toy_config, tmp_path):
    for name in NAMES[:2]:
        ranked = RankedImages(worst=2)
        evaluator = SemSegEvaluator(name, watch=ranked)
        for batch in build_test_loader(toy_config(), name):
            shape = (batch[0]["height"], batch[0]["width"])
            evaluator.process(batch, [{"labels": torch.zeros(shape, dtype=int)}])
        draw_images(tmp_path / "worst" / name, ranked.gather()["worst"], CLASSES, prefix="worst")
    for place in range(2):
        ours, plain = (tmp_path / "worst" / name / f"worst_{place}.webp" for name in ("stored", "without_exif"))
        assert ours.read_bytes() == plain.read_bytes()


def test_labels_that_fit_when_turned_alone_are_refused(datasets, toy_config, tmp_path):
    with pytest.raises(ValueError, match=r"0\.png is 128 x 80 .*EXIF.*ignore_exif_orientation=True"):
        evaluate(toy_config(DATASETS__TEST=("as_by_default",)), tiny_model(tmp_path), weights="random")
