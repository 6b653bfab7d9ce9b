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


HEADS = [slice(16 * head, 16 * head + 16) for head in range(4)]


class PlainViT:
    """A ViT of three blocks on one image, one head after another; its last block is as a case says."""

    def __init__(self, case: ReferenceCase) -> None:
        self.case, self.config = case, case.config
        self.state = {name.removeprefix("visual."): tensor for name, tensor in case.state_dict().items()}
        self.rows, self.columns = (side // 16 for side in case.inputs["image"].shape[2:])

    def __call__(self) -> torch.Tensor:
        x = self.norm(self.tokens(), "ln_pre")
        *blocks, last = (f"transformer.resblocks.{i}" for i in range(3))
        for block in blocks:
            x = x + self.attend(x, block, self.ordinary)
            x = x + self.mlp(x, block)
        mix = {"nonly": self.nonly, "csa": self.sclip, "SCLIP": self.sclip, "ProxyCLIP": self.proxyclip}
        out = self.attend(x, last, mix[self.config["method"]])
        out = x + out if self.config["residual"] else out
        out = out + self.mlp(out, last) if self.config["mlp"] else out
        return self.norm(out, "ln_post") @ self.state["proj"]

    def tokens(self) -> torch.Tensor:
        patches = F.conv2d(torch.from_numpy(self.case.inputs["image"]), self.state["conv1.weight"], stride=16)[0]
        table = self.state["positional_embedding"]
        if self.rows * self.columns != 16:
            factors = ((self.rows + 0.1) / 4, (self.columns + 0.1) / 4)
            grid = table[1:].T.reshape(1, 64, 4, 4)
            grid = F.interpolate(grid, scale_factor=factors, mode="bicubic", recompute_scale_factor=False)
            table = torch.cat((table[:1], grid[0].flatten(1).T))
        return torch.cat((self.state["class_embedding"][None], patches.flatten(1).T)) + table

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (64,), *self.parts(name))

    def parts(self, name: str, separator: str = ".") -> tuple[torch.Tensor, torch.Tensor]:
        return self.state[f"{name}{separator}weight"], self.state[f"{name}{separator}bias"]

    def mlp(self, x: torch.Tensor, block: str) -> torch.Tensor:
        hidden = F.linear(self.norm(x, f"{block}.ln_2"), *self.parts(f"{block}.mlp.c_fc"))
        hidden = F.gelu(hidden) if self.config["activation"] == "gelu" else hidden * torch.sigmoid(1.702 * hidden)
        return F.linear(hidden, *self.parts(f"{block}.mlp.c_proj"))

    def attend(self, x: torch.Tensor, block: str, mix: Any) -> torch.Tensor:
        joined = F.linear(self.norm(x, f"{block}.ln_1"), *self.parts(f"{block}.attn.in_proj", "_"))
        return F.linear(mix(*joined.chunk(3, dim=1)), *self.parts(f"{block}.attn.out_proj"))

    def ordinary(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.cat([(q[:, h] @ k[:, h].T / 4).softmax(dim=1) @ v[:, h] for h in HEADS], dim=1)

    def sclip(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        weights = [(q[:, h] @ q[:, h].T / 4).softmax(1) + (k[:, h] @ k[:, h].T / 4).softmax(1) for h in HEADS]
        return torch.cat([weight @ v[:, h] for weight, h in zip(weights, HEADS, strict=True)], dim=1)

    def nonly(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        lengths = torch.stack([torch.outer(q[:, h].norm(dim=1), k[:, h].norm(dim=1)) for h in HEADS]).mean()
        omega = torch.zeros(len(q), len(q))
        for i in range(self.rows * self.columns):
            for j in range(self.rows * self.columns):
                rows, columns = i // self.columns - j // self.columns, i % self.columns - j % self.columns
                omega[1 + i, 1 + j] = math.exp(-(rows**2 + columns**2) / (2 * self.config["gaussian_std"] ** 2))
        return (omega * lengths / 4).softmax(dim=1) @ v

    def proxyclip(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        proxy = F.normalize(torch.from_numpy(self.case.inputs["proxy_features"])[0], dim=0)
        similarity = torch.einsum("chw,cij->hwij", proxy, proxy).reshape(2 * [proxy[0].numel()])
        similarity = (similarity - similarity.mean() * self.config["beta"]) * self.config["gamma"]
        weights = torch.where(similarity < 0, -math.inf, similarity).softmax(dim=1)
        # As the authors' code has it: the sides are swapped, which shows where they differ.
        maps = v[1:].reshape(1, self.columns, self.rows, 64).permute(0, 3, 1, 2)
        maps = F.interpolate(maps, size=proxy.shape[1:], mode="bilinear", align_corners=False)
        return weights @ maps[0].flatten(1).T


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape[1:] == expected.shape
    assert float((found[0] - expected).abs().max() / expected.std()) < 1e-4


@pytest.mark.parametrize("std", [0.7, 5.0])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("image", [(64, 64), (48, 112), (32, 128), (70, 90)])
def test_nonly(tmp_path: Path, image: tuple[int, int], full: bool, std: float) -> None:
    case = changed("naclip_64x64", image, method="nonly", gaussian_std=std, residual=full, mlp=full)
    expected = PlainViT(case)()
    assert_equal(computed(case, tmp_path, len(expected)), expected)


@pytest.mark.parametrize(("name", "method"), [("sclip_64x64", "csa"), ("clearclip_64x64", "SCLIP")])
@pytest.mark.parametrize("residual", [False, True])
def test_sclip(tmp_path: Path, name: str, method: str, residual: bool) -> None:
    """ClearCLIP's file has it too: its cases hold the patches alone."""
    case = changed(name, (80, 48), method=method, residual=residual, mlp=residual)
    expected = PlainViT(case)()[int(method == "SCLIP") :]
    assert_equal(computed(case, tmp_path, len(expected)), expected)


@pytest.mark.parametrize(("image", "cells"), [((64, 64), (5, 7)), ((48, 80), (6, 10)), ((96, 32), (3, 3))])
@pytest.mark.parametrize(("beta", "gamma"), [(1.2, 3.0), (0.5, 10.0), (0, 1.0)])
def test_proxyclip(tmp_path: Path, image: tuple[int, int], cells: tuple[int, int], beta: float, gamma: float) -> None:
    case = changed("proxyclip_64x64", image, beta=beta, gamma=gamma)
    case.inputs["proxy_features"] = torch.randn(1, 12, *cells).numpy()
    expected = PlainViT(case)()
    assert_equal(computed(case, tmp_path, len(expected)), expected)


def test_what_a_method_does_not_use_may_be_zero() -> None:
    block = build_last_block({"method": "kk", "residual": False, "mlp": True, "gaussian_std": 0})
    assert (block.method, block.residual, block.mlp) == ("kk", False, True)
