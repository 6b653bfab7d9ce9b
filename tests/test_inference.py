import json
from pathlib import Path

import numpy as np
import pytest
import torch

from catseg.api.model import CATSegModel
from catseg.inference import Predictor
from catseg.vocabulary import load_vocabulary
from tests.fake_module import PROBABILITY, LeftAndRight, fake_model, images_as_they_are
from tests.tiny import option_words, tiny_model, tiny_options

CONFIG = Path(__file__).parents[1] / "configs" / "catseg_ade150.yaml"
NAMES = ("wall", "building, edifice", "sky")


@pytest.fixture
def module():
    return LeftAndRight()


@pytest.fixture
def predictor(module):
    return Predictor(fake_model(module, classes=NAMES))


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def test_every_pixel_gets_a_class(predictor, image, tmp_path):
    result = predictor(image)
    np.testing.assert_array_equal(result.image, image)
    assert result.names == predictor.classes == NAMES
    assert (result.labels[:, :20] == 0).all()
    assert (result.labels[:, 20:] == 1).all()
    assert (result.labels.dtype, result.scores.dtype) == (np.int32, np.float32)
    np.testing.assert_allclose(result.scores, PROBABILITY, atol=1e-6)


def test_class_scores(predictor, image):
    result = predictor(image, class_scores=True)
    assert result.class_scores.shape == (3, 30, 40)
    np.testing.assert_array_equal(result.class_scores.argmax(axis=0), result.labels)
    np.testing.assert_array_equal(result.class_scores.max(axis=0), result.scores)


def test_classes_of_a_call(predictor, image, tmp_path):
    (tmp_path / "names.json").write_text(json.dumps(["dog", "cat"]))
    assert predictor(image, ["sofa", "night sky"]).names == ("sofa", "night sky")
    assert predictor(image, "sofa | couch, cat").names == ("sofa, couch", "cat")
    assert predictor(image, ["sofa", ("cat", "kitten")]).names.short_names == ("sofa", "cat")
    assert predictor(image, tmp_path / "names.json").names == ("dog", "cat")
    assert len(predictor(image, "ade20k_150").names) == 150
    assert predictor(image).names == NAMES


def test_an_error_is_raised(predictor, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        predictor(tmp_path / "missing.png")
    with pytest.raises(FloatingPointError, match="not numbers"):
        predictor(np.zeros((5, 6, 3), dtype=np.uint8))


@pytest.fixture
def options(tmp_path):
    return option_words(tiny_options(tmp_path))


def test_from_config_with_the_classes_of_the_test_set(options, image, caplog):
    predictor = Predictor.from_config(CONFIG, options)
    assert "results are random" in caplog.text
    assert not predictor.trained
    assert len(predictor.classes) == 150
    result = predictor(image)
    assert result.labels.shape == (30, 40)
    assert result.names[0] == "wall"
    assert 0 <= result.scores.min() <= result.scores.max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (97, 31)])
def test_any_size_through_the_real_model(tmp_path, shape):
    predictor = Predictor(CATSegModel(tiny_model(tmp_path), images_as_they_are(), classes=NAMES))
    image = np.zeros((*shape, 3), dtype=np.uint8)
    result = predictor(image, class_scores=True)
    assert result.labels.shape == result.scores.shape == shape
    assert np.isfinite(result.class_scores).all()
    np.testing.assert_array_equal(predictor(image).labels, result.labels)


def test_trained_weights_are_all_that_is_needed(tmp_path, options, image, caplog):
    model = tiny_model(tmp_path)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    weights = ["MODEL.WEIGHTS", str(tmp_path / "model.pth"), "MODEL.CLIP.WEIGHTS", str(tmp_path / "missing.pt")]
    predictor = Predictor.from_config(CONFIG, [*options, *weights], classes=NAMES)
    assert predictor.trained
    assert "results are random" not in caplog.text
    np.testing.assert_allclose(
        predictor(image).scores,
        Predictor(CATSegModel(model, images_as_they_are(), classes=NAMES))(image).scores,
        atol=1e-6,
    )


def test_weights_of_the_backbone_need_those_of_clip(tmp_path, options):
    backbone = tiny_model(tmp_path).backbone.state_dict()
    torch.save({"model": backbone}, tmp_path / "backbone.pth")
    weights = ["MODEL.WEIGHTS", str(tmp_path / "backbone.pth"), "MODEL.CLIP.WEIGHTS", str(tmp_path / "missing.pt")]
    with pytest.raises(FileNotFoundError, match=r"missing\.pt"):
        Predictor.from_config(CONFIG, [*options, *weights], classes=NAMES)


def test_a_gpu_that_is_not_there(options, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    predictor = Predictor.from_config(CONFIG, [*options, "MODEL.DEVICE", "cuda"])
    assert predictor.model.device.type == "cpu"


def test_classes_of_a_config(options):
    def classes(test_sets, **given):
        return Predictor.from_config(CONFIG, [*options, "DATASETS.TEST", test_sets], **given).classes

    assert classes("()") is None
    assert classes("('moon_test',)", classes="cat, dog") == ("cat", "dog")
    with pytest.raises(ValueError, match="no data set is registered as 'moon_test'"):
        classes("('moon_test',)")
    named = Predictor.from_config(CONFIG, [*options, "DATASETS.TEST_CLASSES", "pascal_voc_20"]).classes
    assert named == load_vocabulary("pascal_voc_20")


def test_missing_files(tmp_path, options):
    with pytest.raises(FileNotFoundError, match=r"no config file .*missing\.yaml"):
        Predictor.from_config(tmp_path / "missing.yaml")
    with pytest.raises(FileNotFoundError, match=r"missing\.pth"):
        Predictor.from_config(CONFIG, [*options, "MODEL.WEIGHTS", str(tmp_path / "missing.pth")])


def test_options_change_the_config(options):
    predictor = Predictor.from_config(CONFIG, [*options, "TEST.SLIDING_WINDOW", "False"], classes=["cat"])
    assert type(predictor.model.view).__name__ == "WholeImage"
