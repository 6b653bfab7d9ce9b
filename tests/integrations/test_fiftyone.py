"""With the real FiftyOne, whose zoo loads the source from its folder; what needs its database skips without one."""

import json
import os
import shutil

import numpy as np
import pytest

import catseg
from tests.fake_module import fake_model
from tests.integrations.conftest import FOLDER

fo = pytest.importorskip("fiftyone", reason="fiftyone is not installed")
foz = pytest.importorskip("fiftyone.zoo")

CLASSES = ["sofa", "cat | kitten"]


@pytest.fixture
def zoo(monkeypatch, tmp_path):
    """The folder that FiftyOne keeps models in, with the source where it belongs; its models are files of one word."""
    monkeypatch.setattr(fo.config, "model_zoo_dir", str(tmp_path))
    monkeypatch.setattr(fo.config, "requirement_error_level", 2)
    shutil.copytree(FOLDER / "fiftyone", tmp_path / "catseg" / "zoo")

    def save_pretrained(folder):
        folder.mkdir()
        (folder / "config.yaml").write_text("config")

    def load(name, **options):
        model = fake_model(name=str(name))
        monkeypatch.setattr(model, "save_pretrained", save_pretrained, raising=False)
        return model

    monkeypatch.setattr(catseg, "load", load)
    return tmp_path / "catseg" / "zoo"


def test_the_zoo_lists_every_model(zoo):
    assert {f"catseg/{info.name}" for info in catseg.models()} <= set(foz.list_zoo_models())
    models = json.loads((zoo / "manifest.json").read_text())["models"]
    assert [model["base_filename"] for model in models] == [info.name for info in catseg.models()]
    for model, info in zip(models, catseg.models(), strict=True):
        assert model["license"] == info.licence
        assert f"{model['size_bytes'] / 1e9:.1f} GB" in info.needs or info.name == "shapes"


def test_a_model_is_put_into_the_zoo_and_loaded_from_there(zoo, photo, halves):
    model = foz.load_zoo_model("catseg/v2-large", classes=CLASSES, cache=False)
    assert model.model.name == str(zoo / "v2-large")
    assert sorted(path.name for path in zoo.glob("v2-large*")) == ["v2-large"], "and nothing half-written"
    assert model.mask_targets == {1: "sofa", 2: "cat"}
    found = model.predict(photo)
    assert isinstance(found, fo.Segmentation)
    assert found.mask.dtype == np.uint8
    np.testing.assert_array_equal(found.mask, np.where(halves, 1, 2))


def test_batches_thresholds_and_crumbs(zoo, photo):
    model = foz.load_zoo_model("catseg/v2-large", classes=CLASSES, cache=False, min_pixels=10)
    assert [found.mask.shape for found in model.predict_all([photo, photo[:20]])] == [(30, 40), (20, 40)]
    assert model.model.module.batches[-1] == 2
    model.config.confidence_thresh = 0.8
    assert not model.predict(photo).mask.any()
    model.config.confidence_thresh, model.config.min_pixels = 0.5, 601
    assert not model.predict(photo).mask.any()


def test_many_classes(zoo, photo):
    model = foz.load_zoo_model("catseg/v2-large", classes=[f"thing {i}" for i in range(256)], cache=False)
    assert model.predict(photo).mask.dtype == np.uint16


def test_no_classes(zoo):
    with pytest.raises(ValueError, match="no classes to look for"):
        foz.load_zoo_model("catseg/v2-large", cache=False)


@pytest.mark.skipif("FIFTYONE_DATABASE_URI" not in os.environ, reason="no MongoDB: FIFTYONE_DATABASE_URI is not set")
@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_data_set(zoo, photo_file, halves, batch_size):
    dataset = fo.Dataset()
    try:
        dataset.add_samples([fo.Sample(str(photo_file)) for _ in range(3)])
        model = foz.load_zoo_model("catseg/v2-large", classes=CLASSES, cache=False)
        dataset.apply_model(model, label_field="catseg", batch_size=batch_size, confidence_thresh=0.6)
        dataset.mask_targets["catseg"] = model.mask_targets
        dataset.save()
        for sample in dataset:
            np.testing.assert_array_equal(sample["catseg"].mask, np.where(halves, 1, 2))
    finally:
        dataset.delete()
