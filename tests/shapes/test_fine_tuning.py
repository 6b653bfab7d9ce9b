import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from catseg.config import shipped_config
from catseg.data.registration import register_datasets
from catseg.shapes.contrastive import Schedule
from catseg.shapes.fine_tuning import measure, write_own_data
from catseg.shapes.generate import generate_shapes
from catseg.shapes.pretrain_clip import Pretraining
from catseg.shapes.run import Job, run_job


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """Generated data, fewer than the demo has, and no trace of them afterwards."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    generate_shapes(tmp_path / "datasets", counts={"train": 300, "seen_test": 30, "unseen_test": 60})
    register_datasets()
    yield tmp_path
    for name in [name for name in DatasetCatalog.list() if name.startswith("own_")]:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_few_classes_are_labelled_and_all_else_is_ignored(shapes):
    folder = write_own_data(shapes / "own", classes=2, images=20)
    assert len((folder / "classes.txt").read_text().splitlines()) == 2
    labels = {file: np.asarray(Image.open(file)) for file in folder.glob("labels/*/*.png")}
    train = [map_ for file, map_ in labels.items() if file.parent.name == "train"]
    assert 0 < len(train) < len(labels) <= 60
    assert set(np.unique(np.stack(list(labels.values())))) == {0, 1, 255}
    photos = {file.relative_to(folder / "images") for file in folder.glob("images/*/*.png")}
    assert photos == {file.relative_to(folder / "labels") for file in labels}


@pytest.mark.slow
def test_other_classes_keep_their_quality(shapes):
    """A short training first: not as good as the demo's, but one that has something to lose."""
    pretraining = Pretraining(min_accuracy=0.0, schedule=Schedule(steps=300))
    options = ("SOLVER.MAX_ITER", "60")
    job = Job("short", shapes, shipped_config("catseg_shapes.yaml"), options, pretraining)
    run_job(job)
    own = write_own_data(shapes / "own", classes=3, images=30)
    rows = dict(measure(str(job.run_folder), own, shapes / "fine_tuned", steps=40))
    before, alone, half = rows["before"], rows["after, --keep 0"], rows["after, --keep 0.5"]
    assert before["seen"] > 35
    assert before["never seen"] > 35
    for classes in ("seen", "never seen"):
        assert alone[classes] < half[classes], "there was nothing to keep"
        assert half[classes] > before[classes] - 4
    assert half["labelled"] > before["labelled"]
