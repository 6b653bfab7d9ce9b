"""The plain transcriptions compute what the backbones compute, from the same state dict."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.plain.mpvit import PlainMPViT
from benchmarks.plain.swin import PlainSwin
from catseg.modeling.backbones import D2SwinTransformer, MPViT

SWIN = {"embed_dim": 8, "depths": (2, 2, 2, 1), "num_heads": (1, 2, 4, 8), "window_size": 4}
MPVIT = {"embed_dims": (8, 16, 24, 32), "depths": (1, 2, 1, 1), "num_paths": (2, 3, 1, 2), "mlp_ratios": (2, 2, 4, 3)}
MAPS = {"out_features": ("res2", "res3", "res4", "res5")}


@pytest.mark.parametrize("size", [(64, 96), (62, 75)])
@pytest.mark.parametrize(
    ("family", "plain_family", "options"), [(D2SwinTransformer, PlainSwin, SWIN), (MPViT, PlainMPViT, MPVIT)]
)
def test_plain_and_fast_agree(
    family: Callable[..., nn.Module],
    plain_family: Callable[..., nn.Module],
    options: dict[str, Any],
    size: tuple[int, int],
) -> None:
    ours, plain = family(**options, **MAPS), plain_family(**options)
    state = {name: tensor + 0.1 * torch.rand_like(tensor) if tensor.is_floating_point() else tensor
             for name, tensor in ours.state_dict().items()}  # fmt: skip
    ours.load_state_dict(state)
    plain.load_state_dict(state)
    images = torch.randn(2, 3, *size)
    expected = plain(images)
    for name, value in ours(images).items():
        torch.testing.assert_close(value, expected.pop(name), rtol=1e-4, atol=1e-4)
    assert not expected
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())  # statistics of the batch norms too
