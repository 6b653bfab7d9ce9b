import os
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
import sklearn.datasets

from tests.tiny import tiny_config

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def photographs() -> list[Path]:
    """Photographs inside the wheels of scikit-image and scikit-learn: PNG and JPEG, colour and grey."""
    skimage_folder = Path(skimage.data.__file__).parent
    sklearn_folder = Path(sklearn.datasets.__file__).parent / "images"
    return [
        skimage_folder / "camera.png",
        skimage_folder / "rocket.jpg",
        skimage_folder / "chelsea.png",
        sklearn_folder / "china.jpg",
    ]


@pytest.fixture
def config_file(tmp_path):
    """The file of a tiny network with random weights."""
    cfg = tiny_config(tmp_path, DATASETS__TEST=("ade20k_150_test_sem_seg",))
    path = tmp_path / "tiny.yaml"
    path.write_text(cfg.dump())
    return path


@pytest.fixture
def run_demo():
    """Runs `python demo/demo.py` as a user does, in a process of its own."""

    def run(*words, **options):
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, str(REPOSITORY / "demo" / "demo.py"), *map(str, words)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, **options)

    return run
