import logging
import os
import pickle
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torchvision
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone.resnet import build_resnet_backbone
from torch import nn

import catseg.checkpoint.checkpointer
from catseg.checkpoint.checkpointer import Checkpointer
from catseg.modeling.backbones.swin import D2SwinTransformer
from tests.modeling.test_meta_arch import VERSION_2
from tests.tiny import tiny_model


class Counter:
    """Something that trains along with the model."""

    def __init__(self, count=0):
        self.count = count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def make_model():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def same(one, other):
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_what_was_saved_is_loaded(tmp_path):
    model = make_model()
    Checkpointer(model, str(tmp_path), trainer=Counter(5)).save("model_0000004", iteration=4)
    other, trainer = make_model(), Counter()
    checkpointer = Checkpointer(other, str(tmp_path), trainer=trainer)
    assert checkpointer.has_checkpoint()
    assert checkpointer.load(checkpointer.get_checkpoint_file())["iteration"] == 4
    assert same(model, other)
    assert trainer.count == 5
    assert checkpointer.complete


def test_weights_alone_are_saved_without_becoming_the_last_checkpoint(tmp_path):
    checkpointer = Checkpointer(make_model(), str(tmp_path), trainer=Counter(5))
    checkpointer.save("model_0000004")
    checkpointer.save_weights("model_best", iteration=4)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000004.pth")
    assert set(torch.load(tmp_path / "model_best.pth")) == {"model", "iteration"}


@pytest.mark.parametrize(("cause", "raised"), [(OSError("disk"), OSError), (KeyboardInterrupt(), KeyboardInterrupt)])
def test_a_save_that_is_broken_off_leaves_the_last_checkpoint_as_it_was(tmp_path, monkeypatch, cause, raised):
    checkpointer = Checkpointer(make_model(), str(tmp_path))
    checkpointer.save("model")
    before = (tmp_path / "model.pth").read_bytes()

    def write_half(data, stream):
        stream.write(b"half")
        raise cause

    monkeypatch.setattr(catseg.checkpoint.checkpointer.torch, "save", write_half)
    for name in ("model", "model_final"):
        with pytest.raises(raised):
            checkpointer.save(name)
    assert (tmp_path / "model.pth").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last_checkpoint", "model.pth"]
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model.pth")


def test_what_a_killed_run_left_is_removed_by_the_next_save_of_the_same_name(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    remains = tmp_path / f".model.pth.{socket.gethostname()[:30]}-{dead.pid}-0.partial.pth"
    remains.touch()
    os.utime(remains, (0, 0))
    Checkpointer(make_model(), str(tmp_path)).save("model")
    assert not remains.exists()


def test_other_tensors_than_the_models_are_an_error_that_lists_them(tmp_path):
    state = make_model().state_dict()
    state["2.surplus"] = state.pop("0.bias")
    state["0.weight"] = torch.zeros(7, 2)
    torch.save({"model": state}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth does not fit") as error:
        Checkpointer(make_model()).load(str(tmp_path / "other.pth"))
    assert all(name in str(error.value) for name in ("0.bias", "2.surplus", "0.weight"))


class Fussy(Counter):
    def load_state_dict(self, state):
        raise ValueError("two groups instead of one")


def test_a_training_state_that_does_not_fit_is_an_error(tmp_path):
    Checkpointer(make_model(), str(tmp_path), trainer=Counter()).save("model")
    checkpointer = Checkpointer(make_model(), str(tmp_path), trainer=Fussy())
    with pytest.raises(ValueError, match=r"model\.pth is of a run with other options.*two groups"):
        checkpointer.load(str(tmp_path / "model.pth"))
    checkpointer.load(str(tmp_path / "model.pth"), checkpointables=[])


def test_the_training_state_of_others_is_never_loaded(tmp_path):
    weights = make_model().state_dict()
    torch.save({"model": weights, "optimizer": {"lr": 3}, "epoch": 9}, tmp_path / "foreign.pth")
    checkpointer = Checkpointer(make_model(), str(tmp_path), trainer=Counter())
    checkpointer.load(str(tmp_path / "foreign.pth"), checkpointables=[])
    with pytest.raises(ValueError, match=r"foreign\.pth holds no training state of this project \(trainer\)"):
        checkpointer.load(str(tmp_path / "foreign.pth"))


def test_the_training_state_of_a_published_checkpoint_is_never_loaded(tmp_path):
    model = nn.ModuleDict({"clip": nn.Linear(2, 2, bias=False)})
    published = {"sem_seg_head.predictor.clip_model.weight": torch.ones(2, 2)}
    torch.save({"model": published, "trainer": {"count": 9}}, tmp_path / "published.pth")
    checkpointer = Checkpointer(model, trainer=(trainer := Counter()))
    with pytest.raises(ValueError, match="no training state of this project"):
        checkpointer.load(str(tmp_path / "published.pth"))
    assert trainer.count == 0


def test_detectron2s_own_reader_unpickles_nothing(tmp_path):
    torch.save(make_model().state_dict(), tmp_path / "good.pyth")
    assert Checkpointer(make_model())._load_file(str(tmp_path / "good.pyth")).keys() == {"model"}
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"model": {"a": Counter()}}))
    with pytest.raises(ValueError, match="could run code"):
        Checkpointer(make_model())._load_file(str(tmp_path / "bad.pkl"))


def test_published_weights_for_another_config_say_for_which(tmp_path):
    torch.save({"model": {"sem_seg_head.predictor.x": torch.ones(1)}}, tmp_path / "model_final_huge.pth")
    with pytest.raises(ValueError, match=r"belongs to configs/catseg_v1_huge\.yaml\): these are not the weights"):
        Checkpointer(make_model()).load(str(tmp_path / "model_final_huge.pth"))


def test_a_file_of_something_else_is_an_error(tmp_path):
    torch.save({"encoder": torch.ones(1)}, tmp_path / "else.pth")
    with pytest.raises(ValueError, match="not hold one tensor"):
        Checkpointer(make_model()).load(str(tmp_path / "else.pth"))


def test_missing_weights_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"MODEL\.WEIGHTS names .*gone\.pth"):
        Checkpointer(make_model()).load(str(tmp_path / "gone.pth"))
    with pytest.raises(FileNotFoundError, match=r"cannot fetch .*local file"):
        Checkpointer(make_model()).load("nowhere://gone.pth")


def test_a_removed_last_checkpoint_is_an_error(tmp_path):
    checkpointer = Checkpointer(make_model(), str(tmp_path))
    with pytest.raises(FileNotFoundError, match="--resume"):
        checkpointer.get_checkpoint_file()
    checkpointer.save("model")
    (tmp_path / "model.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"last_checkpoint names .*model\.pth"):
        checkpointer.get_checkpoint_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_is_called_so(tmp_path, monkeypatch):
    @contextmanager
    def full(path):
        yield Path("/dev/full")

    monkeypatch.setattr("catseg.checkpoint.checkpointer.atomic_path", full)
    with pytest.raises(OSError, match=r"cannot write .*model\.pth .*No space left on device.*; earlier checkpoints"):
        Checkpointer(nn.Linear(1000, 1000), str(tmp_path)).save("model")


def test_no_weights_leave_the_model_as_it_is():
    model = make_model()
    checkpointer = Checkpointer(model)
    assert checkpointer.load("") == {}
    assert not checkpointer.complete


def test_published_weights_of_cat_seg_are_renamed(tmp_path):
    model = nn.Module()
    model.add_module("clip", nn.Linear(2, 2, bias=False))
    model.add_module("sem_seg_head", nn.ModuleDict({"aggregator": nn.ModuleDict({"cost_embedding": nn.ModuleDict()})}))
    model.sem_seg_head.aggregator.cost_embedding["conv"] = nn.Conv2d(1, 1, 1, bias=False)
    published = {
        "sem_seg_head.predictor.clip_model.weight": torch.full((2, 2), 3.0),
        "sem_seg_head.predictor.transformer.conv1.weight": torch.full((1, 1, 1, 1), 4.0),
    }
    torch.save({"model": published, "iteration": 79_999}, tmp_path / "published.pth")
    checkpointer = Checkpointer(model)
    checkpointer.load(str(tmp_path / "published.pth"))
    assert [tensor.flatten()[0] for tensor in model.state_dict().values()] == [3.0, 4.0]
    assert checkpointer.complete
    del published["sem_seg_head.predictor.clip_model.weight"]
    torch.save({"model": published}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"1 missing: clip\.weight"):
        checkpointer.load(str(tmp_path / "part.pth"))


class Segmenter(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.sem_seg_head = nn.Linear(2, 2)


def make_swin(depths=(1, 1, 1)):
    return D2SwinTransformer(embed_dim=8, depths=depths, num_heads=(1, 2, 4, 8)[: len(depths)], window_size=4)


def test_a_swin_classifier_fills_the_backbone_alone(tmp_path, caplog):
    classifier = make_swin((1, 1, 1, 1)).state_dict()
    classifier = {name: tensor for name, tensor in classifier.items() if not name.startswith("norm")}
    classifier |= {"norm.weight": torch.ones(64), "norm.bias": torch.ones(64), "head.weight": torch.ones(5, 64)}
    torch.save({"model": classifier}, tmp_path / "swin.pth")
    model = Segmenter(make_swin())
    head = model.sem_seg_head.weight.clone()
    checkpointer = Checkpointer(model)
    with caplog.at_level(logging.INFO):
        checkpointer.load(str(tmp_path / "swin.pth"))
    name = "layers.2.blocks.0.attn.qkv.weight"
    assert torch.equal(model.backbone.state_dict()[name], classifier[name])
    assert torch.equal(model.sem_seg_head.weight, head)
    assert not checkpointer.complete
    assert "backbone alone" in caplog.text
    assert "norm0.weight" in caplog.text


def test_a_segmentation_network_fills_the_backbone_alone(tmp_path):
    backbone = make_swin().state_dict()
    network = {f"backbone.{name}": torch.full_like(tensor, 1) for name, tensor in backbone.items()}
    network |= {"decode_head.conv_seg.weight": torch.zeros(1)}
    torch.save({"state_dict": network, "meta": {}}, tmp_path / "segmenter.pth")
    checkpointer = Checkpointer(model := Segmenter(make_swin()))
    checkpointer.load(str(tmp_path / "segmenter.pth"))
    assert all((parameter == 1).all() for parameter in model.backbone.parameters())
    assert not checkpointer.complete


def make_resnet():
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4"]
    return build_resnet_backbone(cfg, ShapeSpec(channels=3))


def test_a_resnet_of_the_model_zoo_fills_the_backbone_alone(tmp_path):
    state = {name: tensor.numpy() for name, tensor in make_resnet().state_dict().items()}
    state["stem.fc.weight"] = state["stem.conv1.weight"]
    zoo = {"model": state, "__author__": "torchvision", "matching_heuristics": True}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(zoo))
    model = Segmenter(make_resnet())
    checkpointer = Checkpointer(model)
    checkpointer.load(str(tmp_path / "R-50.pkl"))
    assert all(
        torch.equal(tensor, torch.as_tensor(state[name])) for name, tensor in model.backbone.state_dict().items()
    )
    assert not checkpointer.complete


def test_a_resnet_of_torchvision_fills_the_backbone_alone(tmp_path):
    official = torchvision.models.resnet50()
    torch.save(official.state_dict(), tmp_path / "resnet50.pth")
    checkpointer = Checkpointer(model := Segmenter(make_resnet()))
    checkpointer.load(str(tmp_path / "resnet50.pth"))
    assert torch.equal(model.backbone.res4[5].conv3.weight, official.layer3[5].conv3.weight)
    assert not checkpointer.complete


def test_a_backbone_that_lacks_tensors_is_an_error_that_lists_them(tmp_path):
    state = {name: tensor.numpy() for name, tensor in make_resnet().state_dict().items()}
    del state["res4.5.conv3.weight"]
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"model": state, "__author__": "torchvision"}))
    with pytest.raises(ValueError, match=r"also needs res4\.5\.conv3\.weight"):
        Checkpointer(Segmenter(make_resnet())).load(str(tmp_path / "R-50.pkl"))


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "model.module.", "net._orig_mod."])
def test_a_whole_model_is_loaded_under_any_prefix(tmp_path, caplog, prefix):
    own = tiny_model(tmp_path).state_dict()
    state = {f"{prefix}{name}": torch.ones_like(tensor) for name, tensor in own.items()}
    extra = {"criterion.weight": torch.ones(1)} if prefix in ("model.", "model.module.") else {}
    torch.save({"state_dict": {**state, **extra}, "hyper_parameters": {"lr": 0.1}}, tmp_path / "wrapped.ckpt")
    checkpointer = Checkpointer(model := tiny_model(tmp_path))
    with caplog.at_level(logging.WARNING):
        checkpointer.load(str(tmp_path / "wrapped.ckpt"), checkpointables=[])
    assert all((tensor == 1).all() for tensor in model.state_dict().values())
    assert checkpointer.complete
    assert ("1 tensors of the file are not the network's and are left out: criterion.weight" in caplog.text) == bool(
        extra
    )


@pytest.mark.parametrize("prefix", ["", "model.", "_orig_mod.net."])
def test_published_weights_are_loaded_under_any_prefix(tmp_path, prefix):
    model = nn.Module()
    model.add_module("clip", nn.Linear(2, 2, bias=False))
    name = f"{prefix}sem_seg_head.predictor.clip_model.weight"
    torch.save({"model_state_dict": {name: torch.full((2, 2), 3.0)}}, tmp_path / "published.pth")
    checkpointer = Checkpointer(model)
    checkpointer.load(str(tmp_path / "published.pth"))
    assert (model.clip.weight == 3).all()
    assert checkpointer.complete


def test_lists_of_what_does_not_fit_are_one_short_line(tmp_path):
    torch.save({f"0.x{i}": torch.ones(1) for i in range(300)} | {"clip.a": torch.ones(1)}, tmp_path / "else.pth")
    with pytest.raises(ValueError, match=r"301 unknown: .* and 296 more; ") as error:
        Checkpointer(make_model()).load(str(tmp_path / "else.pth"))
    assert "\n" not in str(error.value)


def test_checkpoints_that_call_the_pyramid_backbone_still_load(tmp_path):
    model = tiny_model(tmp_path, **VERSION_2)
    earlier = {name.replace("clip_pyramid.", "backbone."): torch.ones_like(x) for name, x in model.state_dict().items()}
    assert "backbone.upsample_res2.weight" in earlier
    torch.save({"model": earlier}, tmp_path / "earlier.pth")
    Checkpointer(model).load(str(tmp_path / "earlier.pth"))
    assert (model.clip_pyramid.upsample_res3.weight == 1).all()


@pytest.mark.parametrize("prefix", ["encoder.", "model.backbone.", "student.net.", "segmentor.image_encoder.body."])
def test_a_backbone_is_loaded_under_any_prefix(tmp_path, caplog, prefix):
    weights = {f"{prefix}{name}": torch.ones_like(tensor) for name, tensor in make_swin().state_dict().items()}
    torch.save({"teacher": {**weights, "head.weight": torch.ones(3)}}, tmp_path / "wrapped.pth")
    checkpointer = Checkpointer(model := Segmenter(make_swin()))
    with caplog.at_level(logging.WARNING):
        checkpointer.load(str(tmp_path / "wrapped.pth"))
    assert all((parameter == 1).all() for parameter in model.backbone.parameters())
    assert not checkpointer.complete
    assert "1 tensors of the file are not the network's and are left out: head.weight" in caplog.text


def test_a_backbone_under_a_prefix_that_lacks_a_tensor_is_an_error_about_it_alone(tmp_path):
    weights = {f"net.encoder.{name}": tensor for name, tensor in make_swin().state_dict().items()}
    del weights["net.encoder.layers.1.blocks.0.mlp.fc1.bias"]
    torch.save(weights, tmp_path / "wrapped.pth")
    with pytest.raises(ValueError, match=r"\); 1 missing: layers\.1\.blocks\.0\.mlp\.fc1\.bias$"):
        Checkpointer(Segmenter(make_swin())).load(str(tmp_path / "wrapped.pth"))
