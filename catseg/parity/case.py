"""Reference cases: what an official implementation computes, as numbers without weights.

A case is one .npz file with a JSON `meta` and arrays under `in/`, `out/` and `buf/`. The weights are not stored: both
sides compute each tensor from its official name by one rule, `fill`.
"""

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catseg.errors import InputError

# Tensors with two or more axes that are added to activations instead of multiplied with them.
ADDED_TENSORS = frozenset(
    (
        "positional_embedding",
        "pos_embed",
        "cls_token",
        "class_embedding",
        "level_embed",
        "absolute_pos_embed",
        "relative_position_bias_table",
        "padding_tokens",
        "padding_guidance",
    )
)


def fill(name: str, shape: tuple[int, ...]) -> Tensor:
    """The float32 values of the tensor `name`, the same on every machine.

    With n standard normal, seeded by the CRC-32 of the name: matrices and kernels hold n / sqrt(fan in), vectors named
    `weight` 1 + 0.1 n, running variances 1 + 0.1 |n|, and everything else 0.1 n.
    """
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    leaf = name.rpartition(".")[2]
    if leaf == "running_var":
        values = 1 + 0.1 * np.abs(noise)
    elif len(shape) > 1 and leaf not in ADDED_TENSORS:
        values = noise / np.sqrt(np.prod(shape[1:]))
    elif len(shape) == 1 and leaf == "weight":
        values = 1 + 0.1 * noise
    else:
        values = 0.1 * noise
    return torch.from_numpy(np.asarray(values, dtype=np.float32).reshape(shape))


class UnsupportedCaseError(Exception):
    """A case asks for a network that this project does not have."""


@dataclass(frozen=True)
class ReferenceCase:
    """One case.

    Attributes:
        source: the implementation that the numbers come from.
        config: what it was built with.
        tensors: official name to shape, for every floating-point tensor of its state dict.
        buffers: official name to value, for those that are not filled.
        inputs: name to array.
        outputs: name to array.
    """

    source: str
    config: dict[str, Any]
    tensors: dict[str, list[int]]
    buffers: dict[str, np.ndarray]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]

    def state_dict(self) -> dict[str, Tensor]:
        """The official state dict."""
        filled = {name: fill(name, tuple(shape)) for name, shape in self.tensors.items()}
        return filled | {name: torch.from_numpy(value) for name, value in self.buffers.items()}


def load_case(path: str | Path) -> ReferenceCase:
    """Read a case.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a reference case.
    """
    try:
        with np.load(path) as file:
            meta = json.loads(file["meta"].tobytes())
            buffers, inputs, outputs = (
                {name.removeprefix(part): file[name] for name in file.files if name.startswith(part)}
                for part in ("buf/", "in/", "out/")
            )
        return ReferenceCase(meta["source"], meta["config"], meta["tensors"], buffers, inputs, outputs)
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, TypeError) as error:
        raise InputError(f"{path} is not a reference case (.npz with `meta` and arrays): {error}") from error
