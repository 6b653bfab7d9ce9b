"""The fused form against a plain one: guidance repeated for every class and concatenated."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from catseg.modeling.aggregation.upsampling_decoder import GuidedUpsampling, UpsamplingDecoder, one_channel_convolution


def plain_upsampling(module: GuidedUpsampling, x: Tensor, guidance: Tensor) -> Tensor:
    """`x` `(T, C, h, w)` of one crop, `guidance` `(G, 2 h, 2 w)`."""
    x = torch.cat((module.up(x), guidance.expand(len(x), -1, -1, -1)), dim=1)
    return F.relu(module.norm2(module.conv2(F.relu(module.norm1(module.conv1(x))))))


@settings(max_examples=8, deadline=None)
@given(classes=st.integers(1, 4), chunk=st.integers(1, 5), size=st.sampled_from([(2, 2), (3, 2)]))
def test_equals_the_plain_form(classes: int, chunk: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    decoder = UpsamplingDecoder(in_dim=32, dims=[32, 16], guidance_dims=[8, 4]).double()
    x = torch.randn(2, classes, *size, 32, dtype=torch.float64)
    guidance = [
        torch.randn(2, 8, 2 * size[0], 2 * size[1], dtype=torch.float64),
        torch.randn(2, 4, 4 * size[0], 4 * size[1], dtype=torch.float64),
    ]
    with torch.no_grad():
        logits = decoder(x, guidance, classes_per_chunk=chunk)
        assert logits.shape == (2, classes, 4 * size[0], 4 * size[1])
        for b in range(2):
            maps = x[b].permute(0, 3, 1, 2)
            for stage, share in zip(decoder.stages, guidance, strict=True):
                maps = plain_upsampling(stage, maps, share[b])
            torch.testing.assert_close(logits[b], decoder.head(maps)[:, 0])


def test_the_last_convolution_keeps_its_precision_under_autocast() -> None:
    conv, x = torch.nn.Conv2d(4, 1, 3, padding=1), torch.randn(2, 4, 5, 6).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = one_channel_convolution(x, conv)
    torch.testing.assert_close(found, conv(x.float())[:, 0])


def test_gradients_reach_every_parameter() -> None:
    decoder = UpsamplingDecoder(in_dim=32, dims=[16], guidance_dims=[8])
    decoder(torch.randn(1, 2, 3, 3, 32), [torch.randn(1, 8, 6, 6)], classes_per_chunk=1).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in decoder.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": [16]}, "needs as many DECODER_GUIDANCE_PROJ_DIMS"),
        ({"dims": [20, 16]}, "multiples of 16"),
        ({"guidance_dims": [32, 4]}, "narrower than the map"),
    ],
)
def test_unusable_widths_are_named(options: dict[str, list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UpsamplingDecoder(**{"in_dim": 32, "dims": [32, 16], "guidance_dims": [8, 4]} | options)
