import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from tests.tiny import tiny_config

CLASSES = ["grass", "stone, rock", "sky"]


@pytest.fixture
def toy_datasets(tmp_path):
    """Two registered data sets, `toy_train` and `toy_test`, of a few small images in three colours."""
    for name, count in (("toy_train", 5), ("toy_test", 2)):
        records = make_records(tmp_path / name, count)
        DatasetCatalog.register(name, lambda records=records: records)
        MetadataCatalog.get(name).set(stuff_classes=CLASSES, ignore_label=255, evaluator_type="sem_seg")
    yield
    for name in ("toy_train", "toy_test"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def make_records(folder, count):
    folder.mkdir()
    random = np.random.default_rng(count)
    records = []
    for index in range(count):
        labels = np.kron(random.integers(0, 3, (6, 8)), np.ones((12, 12), dtype=np.uint8)).astype(np.uint8)
        image = np.array([[60, 160, 60], [120, 120, 120], [110, 160, 230]], dtype=np.uint8)[labels]
        labels[:4] = 255
        record = {"file_name": f"{folder}/{index}.png", "sem_seg_file_name": f"{folder}/{index}_labels.png"}
        Image.fromarray(image).save(record["file_name"])
        Image.fromarray(labels).save(record["sem_seg_file_name"])
        records.append(record)
    return records


@pytest.fixture
def toy_config(tmp_path, toy_datasets):
    """Makes configs that train the tiny model on `toy_train` for four steps and evaluate on `toy_test`."""

    def make(**overrides):
        options = {
            "DATASETS__TRAIN": ("toy_train",),
            "DATASETS__TEST": ("toy_test",),
            "INPUT__FORMAT": "RGB",
            "INPUT__CROP__ENABLED": True,
            "INPUT__CROP__TYPE": "absolute",
            "OUTPUT_DIR": str(tmp_path / "output"),
            "SEED": 7,
            "SOLVER__MAX_ITER": 4,
            "SOLVER__BASE_LR": 0.002,
            "SOLVER__LR_SCHEDULER_NAME": "WarmupCosineLR",
            "SOLVER__WARMUP_ITERS": 0,
            "SOLVER__BACKBONE_MULTIPLIER": 1.0,
            "MODEL__SWIN__DROP_PATH_RATE": 0.3,
        }
        return tiny_config(tmp_path, **{**options, **overrides})

    return make
