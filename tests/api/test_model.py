import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

import catseg
from catseg.api.model import CATSegModel
from catseg.vocabulary import load_vocabulary
from tests.fake_module import PROBABILITY, LeftAndRight, fake_model, images_as_they_are
from tests.tiny import tiny_config, tiny_model

NAMES = ["sofa", ("cat", "kitten")]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(1, 256, (30, 40, 3), dtype=np.uint8)


@pytest.fixture
def module():
    return LeftAndRight()


@pytest.fixture
def model(module):
    return fake_model(module, context=["sky", "Cat", "grass"])


def kinds_of(image, folder):
    """The same image in every form that is taken, by the name of the form."""
    Image.fromarray(image).save(folder / "a.png")
    return {
        "array": image,
        "PIL": Image.fromarray(image),
        "tensor": torch.from_numpy(image).permute(2, 0, 1),
        "path": folder / "a.png",
        "string": str(folder / "a.png"),
        "bytes": (folder / "a.png").read_bytes(),
    }


def test_one_image_of_every_kind(model, image, tmp_path):
    for kind, given in kinds_of(image, tmp_path).items():
        result = model.segment(given, NAMES)
        np.testing.assert_array_equal(result.image, image, err_msg=kind)
        assert result.names == ("sofa", "cat, kitten")
        assert (result.labels[:, :20] == 0).all()
        assert (result.labels[:, 20:] == 1).all()
        assert result.source == (tmp_path / "a.png" if kind in ("path", "string") else None)
        assert result.error is None


def test_grey_images(model, image):
    np.testing.assert_array_equal(model.segment(image[..., 0], NAMES).image, image[..., :1].repeat(3, axis=2))


def test_many_images_come_in_order(model, module, image, tmp_path):
    given = list(kinds_of(image, tmp_path).values())
    results = list(model.segment(given, NAMES, batch=4))
    assert [result.error for result in results] == [None] * 6
    assert [result.source for result in results] == [None] * 3 + [tmp_path / "a.png"] * 2 + [None]
    assert module.batches == [4, 2]


@pytest.mark.parametrize("as_pattern", [False, True])
def test_folders_and_patterns(model, image, tmp_path, as_pattern):
    for name in ("b.png", "a.JPG", "below/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    sources = [result.source for result in model.segment(tmp_path / "**" / "*" if as_pattern else tmp_path, NAMES)]
    assert {source.relative_to(tmp_path).as_posix() for source in sources} == {"a.JPG", "b.png", "below/c.png"}


def test_batches_of_images_in_memory(model, image):
    batch = np.stack([image, image[::-1]])
    for given in (batch, torch.from_numpy(batch).permute(0, 3, 1, 2)):
        results = list(model.segment(given, NAMES))
        np.testing.assert_array_equal(results[1].image, image[::-1])


def test_bad_images_do_not_stop_the_others(model, image, tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    black = np.zeros((5, 6, 3), dtype=np.uint8)
    results = list(
        model.segment([image, tmp_path / "damaged.png", tmp_path / "gone.png", black, image], NAMES, batch=5)
    )
    errors = [result.error for result in results]
    assert errors[0] is errors[4] is None
    assert str(tmp_path / "damaged.png") in errors[1]
    assert errors[2] == f"no image file {tmp_path / 'gone.png'}"
    assert "not numbers" in errors[3]
    assert results[1].source == tmp_path / "damaged.png"
    with pytest.raises(ValueError, match=r"damaged\.png"):
        _ = results[1].labels
    assert results[1]._repr_png_() is None


def test_a_failure_of_a_batch_is_found_in_one_image(model, module, image, monkeypatch):
    segment = module.image_logits

    def out_of_memory(inputs):
        if any(item["height"] > 100 for item in inputs):
            raise torch.OutOfMemoryError("out of memory")
        return segment(inputs)

    monkeypatch.setattr(module, "image_logits", out_of_memory)
    results = list(model.segment([image, image.repeat(4, axis=0), image], NAMES, batch=3))
    assert [result.error for result in results] == [None, "OutOfMemoryError: out of memory", None]


def test_errors_may_be_raised(model, image, tmp_path):
    with pytest.raises(FileNotFoundError):
        model.segment(tmp_path / "gone.png", NAMES, on_error="raise")
    stream = model.segment([image, tmp_path / "gone.png", image], NAMES, on_error="raise")
    assert next(stream).error is None
    with pytest.raises(FileNotFoundError):
        next(stream)


def test_a_stream_is_read_as_it_is_used(model, image):
    read = []

    def frames():
        for number in range(1000):
            read.append(number)
            yield image

    stream = model.segment(frames(), NAMES, batch=2, threads=3)
    assert next(stream).error is None
    assert len(read) < 20
    stream.close()
    assert len(read) < 20


def test_what_is_less_probable_is_nothing(model, image):
    labels = model.segment(image, NAMES, threshold=PROBABILITY + 0.01).labels
    assert (labels == -1).all()
    result = model.segment(image, NAMES, threshold=PROBABILITY + 0.01, background="none of these")
    assert result.names == ("sofa", "cat, kitten", "none of these")
    assert (result.labels == 2).all()
    np.testing.assert_allclose(result.probabilities("none of these"), 1 - PROBABILITY, atol=1e-6)
    assert result.class_scores.shape == (3, 30, 40)
    assert (model.segment(image, NAMES, background="none of these").labels < 2).all()


def test_the_network_sees_the_context_too(model, module, image):
    result = model.segment(image, NAMES)
    assert module.classes == ("sofa", "cat, kitten", "sky", "grass"), "without a class that is looked for"
    assert result.names == ("sofa", "cat, kitten")
    assert result.class_scores.shape[0] == 2
    model.segment(image, NAMES, context=["moon"])
    assert module.classes == ("sofa", "cat, kitten", "moon")
    model.segment(image, NAMES, context=None)
    assert module.classes == ("sofa", "cat, kitten")


def test_templates(model, module, image):
    model.segment(image, NAMES, templates="shapes")
    assert len(module.text_encoder.templates) == 4
    model.segment(image, NAMES, templates=["the {}"])
    assert module.text_encoder.templates == ("the {}",)
    model.segment(image, NAMES)
    assert module.text_encoder.templates == ("a {}",), "a call does not change the next one"
    with pytest.raises(ValueError, match="unknown set of prompt templates"):
        model.segment(image, NAMES, templates="nonsense")


def test_probabilities_that_were_not_kept(model, image, tmp_path):
    result = model.segment(image, NAMES, keep_probabilities=False)
    for method in (lambda: result.probabilities("sofa"), lambda: result.save_scores(tmp_path / "scores.npz")):
        with pytest.raises(RuntimeError, match="keep_probabilities=True"):
            method()
    assert not list(tmp_path.iterdir())


def test_encoding_once(model, module, image):
    encoded = model.encode(image)
    result = model.segment(encoded, NAMES)
    np.testing.assert_array_equal(result.labels, model.segment(image, NAMES).labels)
    assert module.batches == [1], "the encoded image does not go through the network again"
    assert model.segment(encoded, ["moon"]).names == ("moon",)
    with pytest.raises(ValueError, match="one image"):
        model.encode([image])


def test_an_item_that_is_nothing_does_not_end_a_series(model, image, tmp_path):
    (tmp_path / "empty").mkdir()
    given = [tmp_path / "a[1].jpg", str(tmp_path / "*.png"), tmp_path / "empty", image]
    results = list(model.segment(given, NAMES))
    assert [result.error is None for result in results] == [False, False, False, True]


def test_wrong_use(model, image):
    for wrong, message in [
        ({"threshold": 2}, "threshold is a probability"),
        ({"on_error": "ignore"}, "on_error"),
        ({"batch": 0}, "batch must be"),
        ({"classes": None}, "no classes to look for"),
        ({"classes": ["cat", "cat"]}, "repeats the class"),
        ({"background": "sofa"}, "repeats the class"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.segment(image, **{"classes": NAMES, **wrong})
    with pytest.raises(ValueError, match="expected an image"):
        model.segment(42, NAMES)
    with pytest.raises(ValueError, match="one by one"):
        list(model.segment([[image, image]], NAMES))


def test_the_vocabulary_is_set_only_when_it_changes(model, module, image):
    for _ in range(2):
        model.segment(image, NAMES)
    assert len(module.vocabularies) == 1


def test_threads_take_turns(model, module, image, monkeypatch):
    segment = module.image_logits
    monkeypatch.setattr(module, "image_logits", lambda inputs: time.sleep(0.01) or segment(inputs))
    vocabularies = [tuple(f"class {i}" for i in range(1, 3 + n % 5)) for n in range(20)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda names: model.segment(image, names, context=None), vocabularies))
    assert [result.names for result in results] == vocabularies
    assert [len(result.class_scores) for result in results] == [len(names) for names in vocabularies]


def test_a_read_only_array(model, image):
    image.flags.writeable = False
    assert model.segment(image, NAMES).labels.shape == (30, 40)


def test_the_real_network(tmp_path, image):
    cfg = tiny_config(tmp_path)
    model = CATSegModel(tiny_model(tmp_path), cfg, context=["sky", "grass"])
    result = model.segment(image, NAMES, threshold=0)
    assert result.labels.shape == (30, 40)
    np.testing.assert_array_equal(result.class_scores.argmax(axis=0), result.labels)
    np.testing.assert_allclose(result.probabilities("kitten"), result.class_scores[1])
    encoded = model.segment(model.encode(image), NAMES, threshold=0)
    np.testing.assert_allclose(encoded.scores, result.scores, atol=1e-6)
    other = model.segment(image, NAMES, threshold=0, templates=["a {}", "the {}"])
    assert (other.scores != result.scores).any()
    np.testing.assert_array_equal(model.segment(image, NAMES, threshold=0).scores, result.scores)


def test_moving_a_model(tmp_path, image):
    model = CATSegModel(tiny_model(tmp_path), tiny_config(tmp_path))
    assert model.to(dtype="bfloat16") is model
    assert model.module.test_dtype == torch.bfloat16
    assert model.segment(image, NAMES).error is None
    assert model.to("cpu", dtype=torch.float32).module.test_dtype == torch.float32
    for wrong in ({"device": "nonsense"}, {"dtype": "int8"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong.values()))}"):
            model.to(**wrong)


def test_only_what_was_loaded_can_be_pickled(model):
    with pytest.raises(TypeError, match=r"catseg\.load"):
        pickle.dumps(model)


def test_lazy_attributes():
    assert {"load", "models", "CATSegModel", "Result", "__version__"} <= set(dir(catseg))
    assert catseg.CATSegModel is CATSegModel
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = catseg.nonsense
    assert load_vocabulary("pascal_voc_20")
    assert images_as_they_are().INPUT.MIN_SIZE_TEST == 0
