"""The plain Swin computes what `D2SwinTransformer` computes, from the same state dict."""

import pytest
import torch

from benchmarks.plain.swin import PlainSwin
from catseg.modeling.backbones import D2SwinTransformer

SMALL = {"embed_dim": 8, "depths": (2, 2, 2, 1), "num_heads": (1, 2, 4, 8), "window_size": 4}


@pytest.mark.parametrize("size", [(64, 96), (62, 75)])
def test_plain_and_fast_agree(size: tuple[int, int]) -> None:
    ours = D2SwinTransformer(**SMALL, out_features=("res2", "res3", "res4", "res5"))
    plain = PlainSwin(**SMALL)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # no branch is switched off by its initial weights
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, *size)
    expected = plain(images)
    for key, value in ours(images).items():
        torch.testing.assert_close(value, expected.pop(key), rtol=1e-4, atol=1e-4)
    assert not expected
