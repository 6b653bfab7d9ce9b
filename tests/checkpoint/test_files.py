import argparse
import collections
import logging
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from catseg.checkpoint.files import find_checkpoints, read_checkpoint, require_file


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


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"<html>not found</html>"])
@pytest.mark.parametrize("suffix", ["pth", "pkl", "safetensors"])
def test_damaged_files_are_an_error_that_names_them(tmp_path, content, suffix):
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"broken\.{suffix} is damaged"):
        read_checkpoint(path)


def test_a_truncated_checkpoint_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "cut.pth"
    torch.save({"model": {"a": torch.ones(10_000)}}, path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ValueError, match=r"cut\.pth is damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"iteration": 3}])
def test_files_without_weights_are_an_error(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth holds"):
        read_checkpoint(tmp_path / "other.pth")


def test_a_missing_file_is_an_error_that_says_what_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"MODEL\.WEIGHTS names .*gone\.pth"):
        require_file(tmp_path / "gone.pth", "MODEL.WEIGHTS")


def test_checkpoints_are_found_but_for_half_written_ones(tmp_path):
    for name in ("model_0000009.pth", "model_0000004.pth", ".123.partial.pth", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_checkpoints(tmp_path)] == ["model_0000004.pth", "model_0000009.pth"]
    assert find_checkpoints(tmp_path / "absent") == []
