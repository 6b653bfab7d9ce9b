from pathlib import Path

import pytest
import torch

from catseg.checkpoint.checkpointer import Checkpointer
from catseg.checkpoint.hub import HubFile
from catseg.checkpoint.sources import PUBLISHED, belongs_to, fetch, hub_file
from catseg.inference import Predictor
from tests.checkpoint.test_hub import torch_file
from tests.hub import LocalHub, use_hub
from tests.tiny import option_words, tiny_model, tiny_options

CONFIGS = Path(__file__).parents[2] / "configs"


def test_published_models_are_where_the_authors_put_them():
    assert {name: str(model.source) for name, model in PUBLISHED.items()} == {
        "v1-base": "hf://hamacojr/CAT-Seg/model_final_base.pth",
        "v1-large": "hf://hamacojr/CAT-Seg/model_final_large.pth",
        "v1-huge": "hf://hamacojr/CAT-Seg/model_final_huge.pth",
        "v1-giant": "hf://hamacojr/CAT-Seg/model_final_giant.pth",
        "v2-base": "hf://spaces/hamacojr/CAT-Seg-weights/model_base.pth",
        "v2-large": "hf://spaces/hamacojr/CAT-Seg-weights/model_large.pth",
    }


def test_the_configs_of_published_models_exist():
    assert [model.config for model in PUBLISHED.values() if not (CONFIGS / model.config).is_file()] == []


def test_names_of_files_on_the_hub_are_told_from_others():
    assert hub_file("catseg://v2-large") == PUBLISHED["v2-large"].source
    assert hub_file("hf://o/r/f.pth") == HubFile("o/r", "f.pth")
    assert [hub_file(name) for name in ("", "model.pth", "https://host/model.pth")] == [None] * 3


@pytest.mark.parametrize(("name", "hint"), [("v2-lage", "did you mean catseg://v2-large"), ("x", "there are v1-base,")])
def test_an_unknown_published_model_is_an_error_that_helps(name, hint):
    with pytest.raises(ValueError, match=rf"no published model is called catseg://{name}; {hint}"):
        fetch(f"catseg://{name}")


@pytest.mark.parametrize(
    ("weights", "config"),
    [
        ("catseg://v2-large", "configs/catseg_v2_large.yaml"),
        ("hf://hamacojr/CAT-Seg@main/model_final_base.pth", "configs/catseg_v1_base.yaml"),
        ("downloads/model_final_giant.pth", "configs/catseg_v1_giant.yaml"),
        ("output/model_final.pth", ""),
    ],
)
def test_published_weights_belong_to_a_config(weights, config):
    assert belongs_to(weights).endswith(config)
    assert bool(belongs_to(weights)) == bool(config)


def test_a_published_model_is_loaded_by_its_name(tmp_path, monkeypatch):
    model = torch.nn.ModuleDict({"clip": torch.nn.Linear(2, 2, bias=False)})
    published = {"sem_seg_head.predictor.clip_model.weight": torch.full((2, 2), 3.0)}
    with LocalHub().running() as hub:
        use_hub(monkeypatch, hub.endpoint, tmp_path / "hub")
        source = PUBLISHED["v2-large"].source
        hub.add(f"spaces/{source.repo}", source.file, torch_file({"model": published, "iteration": 79_999}))
        checkpointer = Checkpointer(model)
        checkpointer.load("catseg://v2-large")
    assert checkpointer.complete
    assert (model["clip"].weight == 3).all()
    Checkpointer(model).load("catseg://v2-large")  # without the hub


def test_the_predictor_takes_weights_from_the_hub(tmp_path, monkeypatch):
    weights = {name: tensor + 1 for name, tensor in tiny_model(tmp_path).state_dict().items()}
    options = tiny_options(tmp_path) | {"MODEL.WEIGHTS": "hf://o/r/model.pth", "MODEL.CLIP.WEIGHTS": "missing.pt"}
    with LocalHub().running() as hub:
        use_hub(monkeypatch, hub.endpoint, tmp_path / "hub")
        hub.add("o/r", "model.pth", torch_file({"model": weights}))
        predictor = Predictor.from_config(CONFIGS / "base.yaml", option_words(options), classes=["a", "b"])
        assert [method for method, _ in hub.requests] == ["HEAD", "GET"]  # although the file is read twice
    assert predictor.trained
    assert torch.equal(predictor.model.clip.logit_scale, weights["clip.logit_scale"])
