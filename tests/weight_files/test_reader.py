import argparse
import collections
import json
import logging
import os
import pathlib
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from catseg.weight_files.reader import read_checkpoint


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("was_run",)


def test_torch_files_are_read_with_and_without_a_model_entry(tmp_path):
    weights = {"module.a": torch.ones(2), "b": torch.zeros(1)}
    torch.save(weights, tmp_path / "flat.pth")
    assert list(read_checkpoint(tmp_path / "flat.pth")["model"]) == ["a", "b"]
    for container in ("model", "state_dict"):
        torch.save({"meta": {"version": "1"}, container: weights, "iteration": 7}, tmp_path / "nested.pth")
        nested = read_checkpoint(tmp_path / "nested.pth")
        assert nested["iteration"] == 7
        assert "state_dict" not in nested
        assert list(nested["model"]) == ["a", "b"]


def test_safetensors_are_read(tmp_path):
    save_file({"module.a": torch.ones(2), "b": torch.zeros(1)}, tmp_path / "weights.safetensors")
    read = read_checkpoint(tmp_path / "weights.safetensors")
    assert read.keys() == {"model"}
    torch.testing.assert_close(read["model"], {"a": torch.ones(2), "b": torch.zeros(1)})


def test_options_and_scores_beside_the_weights_do_no_harm(tmp_path):
    options = argparse.Namespace(lr=0.1, model="van_b0", crop=[224, 224])
    scores = {"metric": np.float64(75.4), "best": np.float32(75.4), "count": np.int64(3)}
    torch.save({"state_dict": {"a": torch.ones(2)}, "args": options, **scores}, tmp_path / "timm.pth")
    read = read_checkpoint(tmp_path / "timm.pth")
    assert read["args"] == options
    assert read["metric"] == 75.4
    assert torch.equal(read["model"]["a"], torch.ones(2))


def test_pickles_of_arrays_and_tensors_are_read(tmp_path):
    path = tmp_path / "zoo.pkl"
    weights = collections.OrderedDict(a=np.arange(3.0), b=torch.ones(2, dtype=torch.float16), c=np.float32(2))
    path.write_bytes(pickle.dumps({"model": weights, "__author__": "someone"}))
    read = read_checkpoint(path)
    assert read["__author__"] == "someone"
    torch.testing.assert_close(read["model"]["a"], torch.arange(3, dtype=torch.float64))
    torch.testing.assert_close(read["model"]["b"], torch.ones(2, dtype=torch.float16))


def test_a_pickle_without_author_is_caffe2s(tmp_path):
    path = tmp_path / "caffe2.pkl"
    path.write_bytes(pickle.dumps({"conv1_w": np.ones(2)}, protocol=2))
    assert read_checkpoint(path)["__author__"] == "Caffe2"


@pytest.mark.parametrize("name", ["code.pkl", "code.pth"])
def test_files_that_would_run_code_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    if name.endswith("pkl"):
        path.write_bytes(pickle.dumps({"model": {"a": np.ones(1)}, "x": RunsCode()}))
    else:
        torch.save({"model": {"a": torch.ones(1)}, "x": RunsCode()}, path)
    with pytest.raises(ValueError, match="could run code"):
        read_checkpoint(path)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("name", ["code.pkl", "code.pth"])
def test_files_run_code_when_that_is_asked_for_and_a_warning_says_so(tmp_path, monkeypatch, caplog, name):
    monkeypatch.chdir(tmp_path)
    content = {"model": {"a": torch.ones(1)}, "x": RunsCode()}
    if name.endswith("pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / name)
    with pytest.raises(ValueError, match="CATSEG_UNSAFE_PICKLE=1") as refused:
        read_checkpoint(tmp_path / name)
    assert "weights_only" not in str(refused.value)
    monkeypatch.setenv("CATSEG_UNSAFE_PICKLE", "1")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(read_checkpoint(tmp_path / name)["model"]["a"], torch.ones(1))
    assert (tmp_path / "was_run").exists()
    assert "runs whatever code it holds" in caplog.text


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "model.pkl", "model.safetensors", "model"])
def test_torch_files_are_read_whatever_their_name(tmp_path, name, new_format):
    content = {"model": {"a": torch.ones(2), "b": np.ones(3)}, "iteration": 3}
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=new_format)
    read = read_checkpoint(tmp_path / name)
    assert read.keys() == {"model", "iteration"}
    assert read["model"]["b"].shape == (3,)


@pytest.mark.parametrize("name", ["model.pth", "model.bin", "model.pkl"])
def test_safetensors_are_read_whatever_their_name(tmp_path, name):
    save_file({"a": torch.ones(2)}, tmp_path / name)
    assert read_checkpoint(tmp_path / name).keys() == {"model"}


def test_pickles_of_the_oldest_protocol_are_read(tmp_path):
    (tmp_path / "zoo.pkl").write_bytes(pickle.dumps({"conv1_w": np.ones(2)}, protocol=0))
    assert read_checkpoint(tmp_path / "zoo.pkl")["__author__"] == "Caffe2"


def test_a_pickle_of_other_names_than_caffe2s_is_not_taken_for_one(tmp_path):
    (tmp_path / "own.pkl").write_bytes(pickle.dumps({"stem.conv1.weight": np.ones(2)}))
    assert read_checkpoint(tmp_path / "own.pkl").keys() == {"model"}


def test_a_checkpoint_in_several_files_is_read_by_its_index(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "model-1.safetensors")
    torch.save({"b": torch.zeros(1)}, tmp_path / "model-2.bin")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "../elsewhere/model-2.bin"}}))
    assert read_checkpoint(index)["model"].keys() == {"a", "b"}
    (tmp_path / "model-2.bin").unlink()
    with pytest.raises(ValueError, match=r"index\.json lists 2 files, of which .*model-2\.bin is not there"):
        read_checkpoint(index)


@pytest.mark.parametrize("legacy", [True, False])
def test_what_openmmlab_and_lightning_keep_beside_the_weights_does_no_harm(tmp_path, monkeypatch, legacy):
    module = types.ModuleType("mmengine.logging.history_buffer")
    module.HistoryBuffer = type(
        "HistoryBuffer",
        (),
        {
            "__module__": module.__name__,
            "mean": lambda self: 0,
            "__init__": lambda self: vars(self).update(log=np.ones(2)),
        },
    )
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    buffer = module.HistoryBuffer()
    buffer.statistics = {"mean": buffer.mean}
    content = {"state_dict": {"a": torch.ones(2)}, "message_hub": {"loss": buffer}, "work_dir": pathlib.PosixPath("/x")}
    torch.save(content, tmp_path / "mm.pth", _use_new_zipfile_serialization=not legacy)
    assert torch.equal(read_checkpoint(tmp_path / "mm.pth")["model"]["a"], torch.ones(2))


class Options:
    """A class that only the training program has."""


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "plain.pkl"])
def test_classes_that_are_refused_are_named_in_one_line(tmp_path, name):
    content = {"model": {"a": torch.ones(2)}, "options": Options()}
    if name == "plain.pkl":
        (tmp_path / name).write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=name == "zip.pth")
    with pytest.raises(
        ValueError, match=r"holds objects beside tensors \(\S*\.Options\).*CATSEG_UNSAFE_PICKLE=1"
    ) as error:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(error.value)


def test_whole_modules_give_their_weights_when_unpickling_is_asked_for(tmp_path, monkeypatch):
    torch.save({"model": nn.Linear(2, 2)}, tmp_path / "module.pth")
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(tmp_path / "module.pth")
    monkeypatch.setenv("CATSEG_UNSAFE_PICKLE", "1")
    assert read_checkpoint(tmp_path / "module.pth")["model"].keys() == {"weight", "bias"}


@pytest.mark.parametrize("length", [60, 5_000, 39_000])
@pytest.mark.parametrize("kind", ["legacy", "pickle", "safetensors"])
def test_files_that_break_off_are_damaged_and_unpickling_is_not_advised(tmp_path, kind, length):
    path = tmp_path / "cut.pth"
    weights = {"a.b": torch.ones(10_000)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in weights.items()}))
    elif kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"cut\.pth is damaged .*get the file again") as error:
        read_checkpoint(path)
    assert "UNSAFE" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [10**6, 10**11])
def test_safetensors_whose_header_lies_are_one_error(tmp_path, length):
    path = tmp_path / "liar.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
    with pytest.raises(ValueError, match=r"liar\.safetensors is damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"iteration": 3}])
def test_files_without_weights_are_an_error(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth holds"):
        read_checkpoint(tmp_path / "other.pth")
