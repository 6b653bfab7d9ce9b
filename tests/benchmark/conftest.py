import numpy as np
import pytest

from catseg.api.registry import NamedModel
from catseg.benchmark.plan import Pair
from catseg.config import shipped_config
from catseg.visualization import save_image


@pytest.fixture
def make_pair():
    def make(model="v2-large", dataset="ade20k_150_test_sem_seg"):
        return Pair(NamedModel(model, shipped_config("base"), "model.pth"), dataset)

    return make


@pytest.fixture
def make_record(tmp_path):
    """Makes what is kept of a pair, with an image in `tmp_path`."""
    save_image(tmp_path / "worst_0.webp", np.zeros((4, 9, 3), dtype=np.uint8))

    def make(miou=37.5, images=2000, name="wall"):
        chip = {"name": name, "color": [1, 2, 3], "iou": None, "truth": 0.0, "predicted": 0.5}
        confusion = {"truth": name, "predicted": "sky", "of_class": 0.25, "of_errors": 0.5}
        return {
            "settings": {"images": images},
            "scores": {"mIoU": miou, "pACC": 80.0, "mIoU-none": None},
            "classes": [{"name": name, "iou": 12.5, "share": 0.5}],
            "confusions": [confusion],
            "worst": [{"name": f"{name}.jpg", "iou": 3.25, "file": "worst_0.webp", "classes": [chip]}],
            "weights": {"name": "model.pth", "sha256": "0123456789abcdef" * 4},
            "seconds": 12.0,
            "measured": {"date": "2026-01-31", "device": "GPU", "processes": 2, "catseg": "0.1", "torch": "2"},
        }

    return make
