"""The integrations as the tools load them: from their files, with a model that sees two halves."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import catseg
from tests.fake_module import fake_model

FOLDER = Path(__file__).parents[2] / "integrations"


@pytest.fixture
def loaded(monkeypatch):
    """What `catseg.load` was asked for; its models see the first class on the left, and the second on the right."""
    calls = []

    def load(name, **options):
        calls.append((str(name), options))
        return fake_model(name=str(name))

    monkeypatch.setattr(catseg, "load", load)
    return calls


@pytest.fixture
def integration(monkeypatch, loaded) -> Callable[[str], ModuleType]:
    def load(file: str) -> ModuleType:
        name = f"integration_{Path(file).stem}"
        spec = importlib.util.spec_from_file_location(name, FOLDER / file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def photo() -> np.ndarray:
    """RGB, (30, 40, 3)."""
    return np.random.default_rng(0).integers(1, 256, (30, 40, 3), dtype=np.uint8)


@pytest.fixture
def photo_file(tmp_path, photo) -> Path:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def halves() -> np.ndarray:
    """Which pixels of the photo are of the first class."""
    return np.arange(40)[None].repeat(30, axis=0) < 20
