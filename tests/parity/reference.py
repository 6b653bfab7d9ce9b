"""Read and write reference cases: what an official implementation computes, as numbers only.

A case is one .npz file. It holds no weights: both sides fill every tensor of the official
state dict from its name (`fill`), so the same 430-million-parameter model can be rebuilt
anywhere from a list of names and shapes.

    case = load("van_b0.npz")
    weights = case.state_dict()          # official names -> float32 tensors (and int buffers)
    inputs = case.inputs                 # dict of numpy arrays
    expected = case.outputs              # dict of numpy arrays
"""

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 values of the tensor `name`, the same on every machine.

    Matrices and kernels get variance 1/fan_in, one-dimensional weights (norms) 1 + 0.1 n,
    running variances 1 + 0.1 |n|, every other vector or scalar 0.1 n, with n standard normal
    from numpy's frozen RandomState, seeded by the CRC-32 of the name.
    """
    n = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        n = 1 + 0.1 * np.abs(n)
    elif len(shape) >= 2 and leaf not in NOT_MATRICES:
        n = n / np.sqrt(np.prod(shape[1:]))
    elif len(shape) == 1 and leaf == "weight":
        n = 1 + 0.1 * n
    else:
        n = 0.1 * n
    return np.asarray(n, dtype=np.float32)


# Parameters with two or more axes that are added to activations rather than multiplied with them.
NOT_MATRICES = {
    "positional_embedding",
    "pos_embed",
    "cls_token",
    "class_embedding",
    "level_embed",
    "absolute_pos_embed",
    "relative_position_bias_table",
    "padding_tokens",
    "padding_guidance",
}


@dataclass
class Case:
    """One reference case.

    tensors: official tensor name -> shape, for every floating-point tensor in the state dict.
    buffers: official name -> array, for the integer buffers and fixed masks, kept as they are.
    config: what the official model was built with.
    """

    source: str
    config: dict
    tensors: dict[str, list[int]]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    buffers: dict[str, np.ndarray] = field(default_factory=dict)

    def state_dict(self):
        import torch

        filled = {k: torch.from_numpy(fill(k, tuple(s)).reshape(s)) for k, s in self.tensors.items()}
        return filled | {k: torch.from_numpy(v) for k, v in self.buffers.items()}

    def save(self, path: str | Path) -> None:
        arrays = {f"in/{k}": v for k, v in self.inputs.items()}
        arrays |= {f"out/{k}": v for k, v in self.outputs.items()}
        arrays |= {f"buf/{k}": v for k, v in self.buffers.items()}
        meta = {"source": self.source, "config": self.config, "tensors": self.tensors}
        np.savez_compressed(path, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays)


def load(path: str | Path) -> Case:
    with np.load(path) as z:
        part = lambda p: {k[len(p) :]: z[k] for k in z.files if k.startswith(p)}
        meta = json.loads(z["meta"].tobytes())
        return Case(meta["source"], meta["config"], meta["tensors"], part("in/"), part("out/"), part("buf/"))


def fill_module(module) -> dict[str, list[int]]:
    """Fill every floating-point parameter and persistent buffer of an official torch module in place.

    Returns name -> shape for a case's `tensors`. Attention masks are left alone: they are fixed.
    """
    import torch

    shapes = {}
    with torch.no_grad():
        for name, t in module.state_dict().items():
            if t.is_floating_point() and not name.endswith("attn_mask"):
                t.copy_(torch.from_numpy(fill(name, tuple(t.shape)).reshape(t.shape)))
                shapes[name] = list(t.shape)
    return shapes
