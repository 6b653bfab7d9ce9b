import json
import logging
import pickle

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import HfApi

import catseg
from catseg.api import registry
from catseg.api.registry import find_model, models, shapes_folder
from catseg.checkpoint.sources import PUBLISHED
from catseg.config import load_config, shipped_config
from catseg.errors import RunError
from tests.hub import LocalHub, use_hub
from tests.tiny import tiny_config, tiny_model

NAMES = ["sofa", ("cat", "kitten")]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.fixture
def run_folder(tmp_path):
    """A folder as training leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    cfg = tiny_config(tmp_path, DATASETS__TRAIN_CLASSES='sky, "old town | city"')
    (folder / "config.yaml").write_text(cfg.dump())
    torch.save({"model": tiny_model(tmp_path).state_dict()}, folder / "model_final.pth")
    (folder / "last_checkpoint").write_text("model_final.pth")
    return folder


def test_the_folder_of_a_run(run_folder, image, caplog):
    model = catseg.load(run_folder)
    assert model.trained
    assert model.name == "run"
    assert model.context == ("sky", "old town, city")
    assert model.segment(image, NAMES).labels.shape == (30, 40)
    assert "results are random" not in caplog.text


def test_the_best_checkpoint_goes_first(run_folder):
    best = run_folder / "model_best.pth"
    best.write_bytes((run_folder / "model_final.pth").read_bytes())
    assert find_model(str(run_folder)).weights == str(best)


def test_a_config_and_weights(run_folder, image):
    config = run_folder / "config.yaml"
    model = catseg.load(f"{config}:{run_folder / 'model_final.pth'}", device="cpu", dtype=torch.bfloat16)
    assert model.module.test_dtype == torch.bfloat16
    assert model.trained
    other = catseg.load(str(config), options=["TEST.SLIDING_WINDOW", "False"])
    assert not other.trained
    assert type(other.module.view).__name__ == "WholeImage"


def test_a_model_comes_out_of_its_pickle(run_folder, image):
    model = catseg.load(run_folder, device="cpu", options=("TEST.SLIDING_WINDOW", "False"))
    again = pickle.loads(pickle.dumps(model))
    assert type(again.module.view).__name__ == "WholeImage"
    np.testing.assert_array_equal(again.segment(image, NAMES).scores, model.segment(image, NAMES).scores)


def test_a_saved_model_is_the_same_anywhere(run_folder, tmp_path, image, monkeypatch):
    model = catseg.load(run_folder)
    folder = model.save_pretrained(tmp_path / "saved", licence="mit")
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "model.safetensors", "clip.json", "README.md"}
    (tmp_path / "tiny_clip.json").rename(tmp_path / "gone.json")
    again = catseg.CATSegModel.from_pretrained(folder)
    assert again.context == model.context
    np.testing.assert_array_equal(again.segment(image, NAMES).scores, model.segment(image, NAMES).scores)
    card = (folder / "README.md").read_text()
    assert card.startswith('---\nlicense: "mit"\n')
    assert "sky, old town" in card
    assert str(tmp_path) not in card + (folder / "config.yaml").read_text()


def test_random_weights_are_not_handed_on(run_folder, tmp_path):
    model = catseg.load(str(run_folder / "config.yaml"))
    with pytest.raises(RuntimeError, match="nothing to hand on"):
        model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_uploading(run_folder, monkeypatch):
    uploads = {}

    def upload(self, *, repo_id, folder_path, commit_message):
        from pathlib import Path

        uploads[repo_id] = sorted(path.name for path in Path(folder_path).iterdir())
        return type("Commit", (), {"commit_url": "https://hub/commit"})

    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo, **options: uploads.update(private=options["private"]))
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    assert catseg.load(run_folder).push_to_hub("me/model", private=True) == "https://hub/commit"
    assert uploads == {"private": True, "me/model": ["README.md", "clip.json", "config.yaml", "model.safetensors"]}

    def refuse(*_, **__):
        raise OSError("401 unauthorized")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    with pytest.raises(RunError, match="hf auth login"):
        catseg.load(run_folder).push_to_hub("me/model")


def test_a_model_on_the_hub(run_folder, tmp_path, image, monkeypatch):
    folder = catseg.load(run_folder).save_pretrained(tmp_path / "saved")
    with LocalHub().running() as hub:
        use_hub(monkeypatch, hub.endpoint, tmp_path / "hub")
        for file in folder.iterdir():
            hub.add("me/model", file.name, file.read_bytes())
        model = catseg.load("hf://me/model")
        with pytest.raises(FileNotFoundError, match="cannot get hf://me/other"):
            catseg.load("hf://me/other")
    assert model.name == "me/model"
    expected = catseg.load(run_folder).segment(image, NAMES).scores
    np.testing.assert_array_equal(model.segment(image, NAMES).scores, expected)


def test_every_published_model_is_known():
    known = {model.name: model for model in models()}
    assert known.keys() == {*PUBLISHED, "shapes"}
    for name, model in known.items():
        assert load_config(shipped_config(model.config)).MODEL.META_ARCHITECTURE == "CATSeg"
        assert model.parameters > 0
        assert name == "shapes" or len(model.miou) == 6
    assert find_model("V2-Large").config_file == shipped_config("catseg_v2_large")


@pytest.mark.slow
def test_parameters_are_counted_right():
    from catseg.build import build_network

    words = ["MODEL.DEVICE", "cpu", "MODEL.CLIP.WEIGHTS", "", "MODEL.WEIGHTS", ""]
    for model in models():
        if model.name in ("v1-base", "v2-base", "shapes"):
            network = build_network(load_config(shipped_config(model.config), words))
            assert round(sum(p.numel() for p in network.parameters()) / 1e6) == model.parameters, model.name


def test_shapes_before_and_after_its_training(run_folder, image):
    with pytest.raises(FileNotFoundError, match="run catseg demo"):
        catseg.load("shapes")
    catseg.load(run_folder).save_pretrained(shapes_folder())
    assert catseg.load("shapes").segment(image, NAMES).error is None


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("v2-larg", "did you mean v2-large"),
        ("zebra", "there are v1-base"),
        ("missing.yaml:model.pth", r"missing\.yaml, which is not there"),
    ],
)
def test_names_of_nothing(word, message):
    with pytest.raises(ValueError, match=message):
        catseg.load(word)


def test_folders_that_are_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no config\.yaml"):
        catseg.load(tmp_path)
    (tmp_path / "config.yaml").write_text(json.dumps({}))
    with pytest.raises(FileNotFoundError, match="holds no weights"):
        catseg.load(tmp_path)


def test_a_warning_of_random_weights(run_folder, caplog):
    with caplog.at_level(logging.WARNING):
        catseg.load(str(run_folder / "config.yaml"))
    assert "results are random" in caplog.text
    assert registry.SHAPES == "shapes"


@pytest.fixture
def clip_files(tmp_path):
    """A tiny CLIP as a JSON file and a file of weights, in a folder that has slashes before it."""
    model = tiny_model(tmp_path)
    weights = tmp_path / "clip.pt"
    torch.save(model.clip.state_dict(), weights)
    return f"{tmp_path / 'tiny_clip.json'}", str(weights)


def test_clip_alone(clip_files, image, tmp_path, caplog):
    clip, weights = clip_files
    model = catseg.load(f"training-free:{clip}/{weights}", device="cpu", options=["MODEL.CLIP.TEMPLATES", "single"])
    assert model.trained
    assert model.context is None
    assert "results are random" not in caplog.text
    assert type(model.module).__name__ == "TrainingFreeSegmenter"
    assert (model.module.image_encoder.grid, model.module.view.kernel) == ((4, 4), 32)  # what the CLIP was made for
    result = model.segment(image, NAMES, threshold=0, background="other")
    assert result.labels.shape == (30, 40)
    probabilities = np.stack([result.probabilities("sofa"), result.probabilities("kitten")])
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities.max(axis=0), result.scores, atol=1e-6)
    encoded = model.encode(image)
    np.testing.assert_allclose(model.segment(encoded, NAMES, threshold=0).scores, result.scores, atol=1e-6)
    beside = model.segment(image, NAMES, threshold=0, context=["grass", "sand"])
    assert (beside.scores < result.scores).all()
    assert set(np.unique(beside.labels)) <= {0, 1}
    assert model.segment(image, NAMES, threshold=1.0).share() == {}


def test_clip_alone_is_saved_whole(clip_files, image, tmp_path):
    clip, weights = clip_files
    proxy = ["METHOD", "proxyclip", "PROXY", "test_vit", "PROXY_WEIGHTS", str(tmp_path / "proxy.pth")]
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "proxy.pth")
    options = [f"MODEL.TRAINING_FREE.{word}" if i % 2 == 0 else word for i, word in enumerate(proxy)]
    model = catseg.load(
        f"training-free:{clip}/{weights}", device="cpu", options=[*options, "MODEL.CLIP.TEMPLATES", "single"]
    )
    assert model.trained
    folder = model.save_pretrained(tmp_path / "saved")
    for path in (tmp_path / "proxy.pth", tmp_path / "clip.pt", tmp_path / "tiny_clip.json"):
        path.unlink()
    again = catseg.load(folder, device="cpu")
    assert again.trained
    np.testing.assert_array_equal(again.segment(image, NAMES).scores, model.segment(image, NAMES).scores)


def test_names_of_clip_models(monkeypatch):
    for word, clip, weights, side in (
        ("ViT-B-16-quickgelu/openai", "ViT-B-16-quickgelu", "openai", 224),
        ("ViT-L/14/a/b.safetensors", "ViT-L/14", "a/b.safetensors", 224),
        ("ViT-L-14-336-quickgelu//tmp/c.pt", "ViT-L-14-336-quickgelu", "/tmp/c.pt", 336),
    ):
        found = find_model(f"training-free:{word}")
        settings = dict(found.settings)
        assert (settings["MODEL.CLIP.NAME"], settings["MODEL.CLIP.WEIGHTS"]) == (clip, weights)
        config = load_config(found.config_file, found.options)
        assert (side, side * 3 // 2) == (config.TEST.SLIDING_KERNEL, config.INPUT.MIN_SIZE_TEST)
        patch = 14 if "L" in clip else 16
        assert [side // patch] * 2 == config.MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION


@pytest.mark.parametrize("word", ["", "ViT-B-16-quickgelu", "ViT-B-16-quickgelu/", "zebra/openai"])
def test_names_of_no_clip_model(word):
    with pytest.raises(ValueError, match=r"names no CLIP model and weights: expected training-free:CLIP/WEIGHTS"):
        catseg.load(f"training-free:{word}")


def test_a_saved_model_keeps_its_classes_and_no_trace_of_its_training(run_folder, tmp_path):
    options = ["DATASETS.TEST_CLASSES", "sofa, cat | kitten", "SOLVER.WISE_FT_ALPHA", 0.5, "DATASETS.OWN", ("gone",)]
    model = catseg.load(run_folder, options=options)
    again = catseg.load(model.save_pretrained(tmp_path / "saved"))
    assert again.classes == model.classes == ["sofa", "cat, kitten"]
    assert (again.config.SOLVER.WISE_FT_ALPHA, again.config.DATASETS.OWN) == (1.0, ())
