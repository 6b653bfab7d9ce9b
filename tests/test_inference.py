import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data.transforms import AugmentationList
from PIL import Image

from catseg.inference import Predictor, Segmentation
from catseg.vocabulary import load_vocabulary
from tests.tiny import option_words, tiny_model, tiny_options

CONFIG = Path(__file__).parents[1] / "configs" / "catseg_ade150.yaml"
AS_THEY_ARE = AugmentationList([])
NAMES = ("wall", "building, edifice", "sky")


class LeftAndRight:
    """Stands in for the model: first class in the left half, last class in the right half, both at 0.75."""

    def __init__(self):
        self.classes = ()
        self.vocabularies = []
        self.training = True

    def eval(self):
        self.training = False
        return self

    def set_vocabulary(self, names):
        self.classes = tuple(names)
        self.vocabularies.append(self.classes)

    def __call__(self, batched_inputs):
        assert not self.training
        [item] = batched_inputs
        assert item["image"].dtype == torch.uint8
        assert item["image"].shape == (3, item["height"], item["width"])
        maps = torch.zeros(len(self.classes), item["height"], item["width"])
        maps[0, :, : item["width"] // 2] = 0.75
        maps[-1, :, item["width"] // 2 :] = 0.75
        return [{"sem_seg": maps}]

    def predict_labels(self, batched_inputs):
        scores, labels = self(batched_inputs)[0]["sem_seg"].max(dim=0)
        return [{"labels": labels, "scores": scores}]


@pytest.fixture
def model():
    return LeftAndRight()


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def test_segmentation_of_every_kind_of_image(model, image, tmp_path):
    predictor = Predictor(resize=AS_THEY_ARE, model=model, classes=NAMES)
    Image.fromarray(image).save(tmp_path / "a.png")
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for source in (image, Image.fromarray(image), tensor, tmp_path / "a.png", str(tmp_path / "a.png")):
        result = predictor(source)
        np.testing.assert_array_equal(result.image, image)
        assert result.names == NAMES
        assert (result.labels[:, :20] == 0).all()
        assert (result.labels[:, 20:] == 2).all()
        assert (result.labels.dtype, result.scores.dtype) == (np.int32, np.float32)
        assert (result.scores == 0.75).all()
        assert result.class_scores is None


def test_class_scores(model, image):
    result = Predictor(resize=AS_THEY_ARE, model=model, classes=NAMES)(image, class_scores=True)
    assert result.class_scores.shape == (3, 30, 40)
    np.testing.assert_array_equal(result.class_scores.argmax(axis=0), result.labels)
    np.testing.assert_array_equal(result.class_scores.max(axis=0), result.scores)


def test_classes_of_a_call(model, image, tmp_path):
    predictor = Predictor(resize=AS_THEY_ARE, model=model, classes=NAMES)
    (tmp_path / "names.json").write_text(json.dumps(["dog", "cat"]))
    assert predictor(image, ["sofa", "night sky"]).names == ("sofa", "night sky")
    assert predictor(image, "sofa | couch, cat").names == ("sofa, couch", "cat")
    assert predictor(image, ["sofa", ("cat", "kitten")]).names == ("sofa", "cat, kitten")
    assert predictor(image, ["sofa", ("cat", "kitten")]).names.short_names == ("sofa", "cat")
    assert predictor(image, tmp_path / "names.json").names == ("dog", "cat")
    assert len(predictor(image, "ade20k_150").names) == 150
    assert predictor(image).names == NAMES


def test_the_vocabulary_is_set_only_when_it_changes(model, image):
    predictor = Predictor(resize=AS_THEY_ARE, model=model, classes=NAMES)
    for _ in range(2):
        predictor(image)
        predictor(image, list(NAMES))
    assert model.vocabularies == [NAMES]


def test_threads_take_turns(model, image, monkeypatch):
    predict = model.predict_labels
    monkeypatch.setattr(model, "predict_labels", lambda inputs: time.sleep(0.01) or predict(inputs))
    predictor = Predictor(resize=AS_THEY_ARE, model=model)
    vocabularies = [tuple(f"class {i}" for i in range(1, 2 + n % 5)) for n in range(20)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda names: predictor(image, names), vocabularies))
    assert [result.names for result in results] == vocabularies
    assert [result.labels.max() + 1 for result in results] == [len(names) for names in vocabularies]


def test_no_classes(model, image):
    with pytest.raises(ValueError, match="no classes to look for"):
        Predictor(resize=AS_THEY_ARE, model=model)(image)
    with pytest.raises(ValueError, match="repeats the class"):
        Predictor(resize=AS_THEY_ARE, model=model)(image, ["cat", "cat"])
    with pytest.raises(ValueError, match="repeats the class"):
        Predictor(resize=AS_THEY_ARE, model=model, classes=["cat", "cat"])
    with pytest.raises(ValueError, match="one class with 2 synonyms"):
        Predictor(resize=AS_THEY_ARE, model=model)(image, ["cat, kitten"])


def test_a_read_only_array(model, image):
    image.flags.writeable = False
    assert Predictor(resize=AS_THEY_ARE, model=model, classes=NAMES)(image).labels.shape == (30, 40)


def test_share():
    labels = np.array([[0, 0, 0, 2, 255]], dtype=np.int32)
    result = Segmentation(np.zeros((1, 5, 3), np.uint8), labels, NAMES, np.ones((1, 5), np.float32))
    assert result.share() == {"wall": 0.6, "sky": 0.2}
    assert list(result.share()) == ["wall", "sky"]


def test_images_and_files(model, image, tmp_path):
    result = Predictor(resize=AS_THEY_ARE, model=model, classes=NAMES)(image, class_scores=True)
    assert result.overlay(legend=False).shape == (390, 520, 3)
    result.save(tmp_path / "overlay.jpg")
    with Image.open(tmp_path / "overlay.jpg") as drawing:
        assert drawing.size == result.overlay().shape[1::-1]
    result.save_labels(tmp_path / "labels.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "labels.png")), result.labels)
    result.save_scores(tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz") as stored:
        np.testing.assert_array_equal(stored["scores"], result.class_scores)
        assert tuple(stored["names"]) == NAMES
    assert result.confidence_image().ndim == result.class_scores_image(limit=1).ndim == 3


def test_class_scores_that_were_not_asked_for(model, image, tmp_path):
    result = Predictor(resize=AS_THEY_ARE, model=model, classes=NAMES)(image)
    for method in (lambda: result.save_scores(tmp_path / "scores.npz"), result.class_scores_image):
        with pytest.raises(ValueError, match="class_scores=True"):
            method()
    assert not list(tmp_path.iterdir())


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
    predictor = Predictor(resize=AS_THEY_ARE, model=tiny_model(tmp_path), classes=NAMES)
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
        predictor(image).scores, Predictor(resize=AS_THEY_ARE, model=model, classes=NAMES)(image).scores, atol=1e-6
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
