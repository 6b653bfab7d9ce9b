import logging

import numpy as np
import pytest
import torch
from torch import nn

from catseg.weight_files.unwrap import unwrap

WEIGHTS = {"layer.weight": torch.ones(2, 2), "layer.bias": torch.zeros(2)}
OTHER = {name: tensor + 7 for name, tensor in WEIGHTS.items()}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 0.1}]}


def found(content):
    return unwrap(content, "file.pth")


def assert_weights(content):
    torch.testing.assert_close(found(content)["model"], WEIGHTS)


@pytest.mark.parametrize(
    "container",
    ["model", "state_dict", "model_state_dict", "module", "net", "params", "ema", "model_ema", "teacher", "segmentor"],
)
def test_containers(container):
    beside = {"optimizer": OPTIMIZER, "epoch": torch.tensor(3), "best": 0.7, "meta": {"classes": ["a"]}}
    assert_weights({**beside, container: WEIGHTS})
    assert_weights({container: {"state_dict": WEIGHTS, "decay": 0.99}})
    assert found({**beside, container: WEIGHTS})["best"] == 0.7


def test_a_config_under_a_container_is_none():
    assert_weights({"model": {"name": "swin", "depth": 4}, "state_dict": WEIGHTS})
    assert_weights({"model": "swin_tiny", "state_dict": WEIGHTS})


def test_weights_alone_and_what_stands_among_them():
    assert_weights(WEIGHTS)
    assert found({**WEIGHTS, "epoch": 3})["epoch"] == 3


def test_what_is_left_out_of_a_container_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        assert_weights({"state_dict": {**WEIGHTS, "layer._extra_state": {"scale": 1}}})
    assert "beside the tensors in state_dict, these are left out: layer._extra_state" in caplog.text


def test_of_several_sets_the_trained_one_is_read_and_that_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        assert_weights({"model_ema": OTHER, "model": WEIGHTS})
    assert "those under model are read, those under model_ema are not" in caplog.text


def test_one_set_beside_none_says_nothing(caplog):
    assert_weights({"model": WEIGHTS, "params": {"lr": 0.1}, "optimizer": OPTIMIZER})
    assert not caplog.records


def test_several_sets_under_names_that_say_nothing_are_an_error():
    with pytest.raises(ValueError, match=r"file.pth holds several sets of weights \(generator, critic\)"):
        found({"generator": WEIGHTS, "critic": OTHER})


@pytest.mark.parametrize("content", [OPTIMIZER, {"optimizer": OPTIMIZER, "epoch": 3}])
def test_the_state_of_an_optimizer_alone_is_named(content):
    with pytest.raises(ValueError, match=r"file.pth holds the state of an optimizer, but no weights"):
        found(content)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [WEIGHTS], torch.ones(2), None])
def test_no_weights(content):
    with pytest.raises(ValueError, match=r"file.pth holds (no weights|a \w+, expected a dict)"):
        found(content)


@pytest.mark.parametrize(
    "wrap",
    [
        "module.{}",
        "module.module.{}",
        "_orig_mod.{}",
        "module._orig_mod.{}",
        "_orig_mod.module.{}",
        "layer._orig_mod.{}",
    ],
)
def test_what_distributed_training_and_compilation_put_before_names(wrap):
    plain = "layer." if wrap.startswith("layer") else ""
    state = {wrap.format(name.removeprefix(plain)): tensor for name, tensor in WEIGHTS.items()}
    assert_weights(state)


def test_mixed_prefixes_and_equal_names():
    first, second = WEIGHTS
    assert_weights({f"module.{first}": WEIGHTS[first], second: WEIGHTS[second]})
    with pytest.raises(ValueError, match=r"two tensors layer\.weight, one of them as module\.layer\.weight"):
        found({**WEIGHTS, f"module.{first}": WEIGHTS[first]})


def test_averaged_models():
    averaged = torch.optim.swa_utils.AveragedModel(nn.ModuleDict({"layer": nn.Linear(2, 2)})).state_dict()
    assert found(averaged)["model"].keys() == WEIGHTS.keys()


@pytest.mark.parametrize(
    "tensor",
    [
        np.ones((2, 2), dtype=">f4"),
        np.ones((2, 4), dtype=np.float64)[:, ::-2],
        nn.Parameter(torch.ones(2, 2)),
        torch.ones(2, 2, dtype=torch.float16),
        torch.ones(2, 2, dtype=torch.bfloat16).t(),
        torch.ones(4, 4)[::2, ::2],
    ],
)
def test_layouts(tensor):
    [read] = found({"model": {"a": tensor}})["model"].values()
    assert type(read) is torch.Tensor
    assert not read.requires_grad
    torch.testing.assert_close(read.float(), torch.ones(2, 2))


def test_scalars_keep_their_shape():
    assert found({"model": {"logit_scale": np.array(4.6), "b": torch.ones(1)}})["model"]["logit_scale"].shape == ()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.ones(2, device="meta"), "the shape of layer.weight alone, without values"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), r"quantised weights \(layer.weight\)"),
        (torch.ones(2).to_sparse(), "layer.weight as a tensor of layout torch.sparse_coo"),
        (torch.ones(2).as_subclass(type("Shard", (torch.Tensor,), {})), "layer.weight as a Shard, such as one process"),
    ],
)
def test_tensors_without_plain_values_are_an_error(tensor, message):
    with pytest.raises(ValueError, match=f"file.pth holds {message}"):
        found({"layer.weight": tensor})
