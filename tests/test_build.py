import logging

import pytest
import torch
from detectron2.modeling import build_model as build_with_detectron2
from detectron2.utils import logger as detectron2_logger

from catseg.build import build_model, usable_device
from catseg.errors import UserError
from catseg.modeling.tta import AugmentedView
from tests.tiny import tiny_config, tiny_model


def test_weights_and_augmentation_are_part_of_the_model(tmp_path):
    torch.save({"model": tiny_model(tmp_path).state_dict()}, tmp_path / "model.pth")
    gone = str(tmp_path / "clip.pt")  # what CLIP starts from is not needed
    cfg = tiny_config(tmp_path, TEST__AUG__ENABLED=True, TEST__AUG__MIN_SIZES=(64, 96), MODEL__CLIP__WEIGHTS=gone)
    before = cfg.dump()
    model, complete = build_model(cfg, str(tmp_path / "model.pth"))
    assert complete
    assert isinstance(model.view, AugmentedView)
    stored = torch.load(tmp_path / "model.pth", weights_only=True)["model"]
    torch.testing.assert_close(dict(model.state_dict()), dict(stored), atol=0, rtol=0)
    assert cfg.dump() == before


def test_weights_of_a_part_are_not_complete(tmp_path):
    torch.save({"model": tiny_model(tmp_path).backbone.state_dict()}, tmp_path / "backbone.pth")
    assert not build_model(tiny_config(tmp_path), str(tmp_path / "backbone.pth"))[1]
    assert not build_model(tiny_config(tmp_path), "")[1]


def test_clip_alone_is_complete_with_the_weights_of_clip(tmp_path):
    torch.save(tiny_model(tmp_path).clip.state_dict(), tmp_path / "clip.pt")
    for weights, expected in ((str(tmp_path / "clip.pt"), True), ("", False)):
        cfg = tiny_config(tmp_path, MODEL__META_ARCHITECTURE="TrainingFreeSegmenter", MODEL__CLIP__WEIGHTS=weights)
        assert build_model(cfg, "")[1] is expected


def test_detectron2_builds_the_augmentation_too(tmp_path):
    cfg = tiny_config(tmp_path, TEST__AUG__ENABLED=True, TEST__AUG__MIN_SIZES=(64, 96))
    assert isinstance(build_with_detectron2(cfg).view, AugmentedView)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.META_ARCHITECTURE", "CatSeg", "did you mean CATSeg"),
        ("MODEL.META_ARCHITECTURE", "PanopticFPN", "expected CATSeg, TrainingFreeSegmenter or a subclass"),
        ("MODEL.BACKBONE.NAME", "SwinTransformer", "did you mean D2SwinTransformer"),
        ("MODEL.BACKBONE.NAME", "zzz", "there are .*VAN"),
        ("MODEL.SEM_SEG_HEAD.NAME", "CatSegHead", "did you mean CATSegHead"),
        ("MODEL.SEM_SEG_HEAD.NAME", "SemSegFPNHead", "takes no class names"),
        ("MODEL.DEVICE", "gpu", "cannot be used here"),
        ("MODEL.DEVICE", "xla", "cannot be used here"),
        ("MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION", [0, 8], "expected numbers of 1 to"),
        ("MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION", [4, 5], "does not tile FEATURE_RESOLUTION"),
        ("MODEL.SEM_SEG_HEAD.POOLING_SIZES_TEST", [8, 8], r"POOLING_SIZES_TEST \[8, 8\] is larger"),
    ],
)
def test_what_cannot_be_built_is_an_error_that_names_the_key(tmp_path, key, value, message):
    with pytest.raises(UserError, match=message) as raised:
        build_model(tiny_config(tmp_path, **{key.replace(".", "__"): value}), "")
    assert key.rpartition(".")[2] in str(raised.value)


def test_a_missing_compiler_is_found_when_the_model_is_built(tmp_path):
    with (
        torch._inductor.config.patch({"cpp.cxx": (None, str(tmp_path / "g++"))}),
        pytest.raises(UserError, match=r"MODEL\.COMPILE is True, but .*compiler"),
    ):
        build_model(tiny_config(tmp_path, MODEL__COMPILE=True), "")


def test_a_missing_gpu_is_warned_of_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(detectron2_logger, "_LOG_COUNTER", detectron2_logger.Counter())
    for _ in range(2):
        assert usable_device("cuda") == "cpu"
        model, _ = build_model(tiny_config(tmp_path, MODEL__DEVICE="cuda"), "")
        assert model.device.type == "cpu"
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING and "GPU" in record.message]
    assert "MODEL.DEVICE is cuda, but torch sees no GPU" in warning.message


def test_a_gpu_beyond_the_last_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert usable_device("cuda:0") == "cuda:0"
    with pytest.raises(UserError, match=r"MODEL\.DEVICE is cuda:1, but torch sees 1 GPUs"):
        usable_device("cuda:1")
