"""What the stored cases do not hold: other methods, parameters and shapes, by the authors' formulas written plainly."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from catseg.parity.case import ReferenceCase, load_case
from catseg.parity.training_free_cases import build_last_block, training_free_features

CASES = Path(__file__).parents[1] / "parity/cases/training_free"


def computed(case: ReferenceCase, folder: Path, tokens: int) -> torch.Tensor:
    outputs = {"features": np.zeros((1, tokens, 32), np.float32)}
    return training_free_features(replace(case, outputs=outputs), folder, torch.device("cpu"))


def changed(name: str, image: tuple[int, int] | None = None, **config: Any) -> ReferenceCase:
    case = load_case(CASES / f"{name}.npz")
    inputs = dict(case.inputs)
    if image is not None:
        inputs["image"] = torch.randn(1, 3, *image).numpy()
    return replace(case, config=case.config | config, inputs=inputs)


def plain_features(case: ReferenceCase) -> torch.Tensor:
    """A ViT of three blocks with the class token, its last block as the case says; one head after another."""
    state = {name.removeprefix("visual."): tensor for name, tensor in case.state_dict().items()}
    config = case.config
    activation = F.gelu if config["activation"] == "gelu" else lambda x: x * torch.sigmoid(1.702 * x)
    patches = F.conv2d(torch.from_numpy(case.inputs["image"]), state["conv1.weight"], stride=16)[0]
    rows, columns = patches.shape[1:]
    table = state["positional_embedding"]
    if rows * columns != 16:
        factors = ((rows + 0.1) / 4, (columns + 0.1) / 4)
        grid = table[1:].T.reshape(1, 64, 4, 4)
        grid = F.interpolate(grid, scale_factor=factors, mode="bicubic", recompute_scale_factor=False)
        table = torch.cat((table[:1], grid[0].flatten(1).T))
    x = torch.cat((state["class_embedding"][None], patches.flatten(1).T)) + table

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (64,), state[f"{name}.weight"], state[f"{name}.bias"])

    def mlp(x: torch.Tensor, block: str) -> torch.Tensor:
        hidden = activation(F.linear(norm(x, f"{block}.ln_2"), *parts(f"{block}.mlp.c_fc")))
        return F.linear(hidden, *parts(f"{block}.mlp.c_proj"))

    def parts(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    def attend(x: torch.Tensor, block: str, weights: Any) -> torch.Tensor:
        name = f"{block}.attn.in_proj"
        q, k, v = F.linear(norm(x, f"{block}.ln_1"), state[f"{name}_weight"], state[f"{name}_bias"]).chunk(3, dim=1)
        heads = [slice(16 * head, 16 * head + 16) for head in range(4)]
        return F.linear(weights(q, k, v, heads), *parts(f"{block}.attn.out_proj"))

    def ordinary(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: list[slice]) -> torch.Tensor:
        return torch.cat([(q[:, h] @ k[:, h].T / 4).softmax(dim=1) @ v[:, h] for h in heads], dim=1)

    def alone(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: list[slice]) -> torch.Tensor:
        """NACLIP's `nonly`."""
        lengths = torch.stack([torch.outer(q[:, h].norm(dim=1), k[:, h].norm(dim=1)) for h in heads]).mean()
        omega = torch.zeros(len(q), len(q))
        for i in range(rows * columns):
            for j in range(rows * columns):
                square = (i // columns - j // columns) ** 2 + (i % columns - j % columns) ** 2
                omega[1 + i, 1 + j] = math.exp(-square / (2 * config["gaussian_std"] ** 2))
        return (omega * lengths / 4).softmax(dim=1) @ v

    def correlated(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: list[slice]) -> torch.Tensor:
        """SCLIP's."""
        softmax = [(q[:, h] @ q[:, h].T / 4).softmax(1) + (k[:, h] @ k[:, h].T / 4).softmax(1) for h in heads]
        return torch.cat([weights @ v[:, h] for weights, h in zip(softmax, heads, strict=True)], dim=1)

    def by_proxy(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: list[slice]) -> torch.Tensor:
        proxy = F.normalize(torch.from_numpy(case.inputs["proxy_features"])[0], dim=0)
        similarity = torch.einsum("chw,cij->hwij", proxy, proxy).reshape(2 * [proxy[0].numel()])
        similarity = (similarity - similarity.mean() * config["beta"]) * config["gamma"]
        weights = torch.where(similarity < 0, -math.inf, similarity).softmax(dim=1)
        # As the authors' code has it: the sides are swapped, which shows where they differ.
        maps = v[1:].reshape(1, columns, rows, 64).permute(0, 3, 1, 2)
        maps = F.interpolate(maps, size=proxy.shape[1:], mode="bilinear", align_corners=False)
        return weights @ maps[0].flatten(1).T

    x = norm(x, "ln_pre")
    for block in ("transformer.resblocks.0", "transformer.resblocks.1"):
        x = x + attend(x, block, ordinary)
        x = x + mlp(x, block)
    last, weights = "transformer.resblocks.2", {"nonly": alone, "csa": correlated, "SCLIP": correlated}
    out = attend(x, last, weights.get(config["method"], by_proxy))
    if config["residual"]:
        out = x + out
    if config["mlp"]:
        out = out + mlp(out, last)
    return norm(out, "ln_post") @ state["proj"]


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape[1:] == expected.shape
    assert float((found[0] - expected).abs().max() / expected.std()) < 1e-4


@pytest.mark.parametrize("std", [0.7, 5.0])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("image", [(64, 64), (48, 112), (32, 128), (70, 90)])
def test_nonly(tmp_path: Path, image: tuple[int, int], full: bool, std: float) -> None:
    case = changed("naclip_64x64", image, method="nonly", gaussian_std=std, residual=full, mlp=full)
    expected = plain_features(case)
    assert_equal(computed(case, tmp_path, len(expected)), expected)


@pytest.mark.parametrize(("name", "method"), [("sclip_64x64", "csa"), ("clearclip_64x64", "SCLIP")])
@pytest.mark.parametrize("residual", [False, True])
def test_sclip(tmp_path: Path, name: str, method: str, residual: bool) -> None:
    """ClearCLIP's file has it too: its cases hold the patches alone."""
    case = changed(name, (80, 48), method=method, residual=residual, mlp=residual)
    expected = plain_features(case)[int(method == "SCLIP") :]
    assert_equal(computed(case, tmp_path, len(expected)), expected)


@pytest.mark.parametrize(("image", "cells"), [((64, 64), (5, 7)), ((48, 80), (6, 10)), ((96, 32), (3, 3))])
@pytest.mark.parametrize(("beta", "gamma"), [(1.2, 3.0), (0.5, 10.0), (0, 1.0)])
def test_proxyclip(tmp_path: Path, image: tuple[int, int], cells: tuple[int, int], beta: float, gamma: float) -> None:
    case = changed("proxyclip_64x64", image, beta=beta, gamma=gamma)
    case.inputs["proxy_features"] = torch.randn(1, 12, *cells).numpy()
    expected = plain_features(case)
    assert_equal(computed(case, tmp_path, len(expected)), expected)


def test_what_a_method_does_not_use_may_be_zero() -> None:
    block = build_last_block({"method": "kk", "residual": False, "mlp": True, "gaussian_std": 0})
    assert (block.method, block.residual, block.mlp) == ("kk", False, True)
