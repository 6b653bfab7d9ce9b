"""The fused form against a plain one: guidance repeated for every class, concatenated, and windows cut one by one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from catseg.modeling.aggregation.spatial_aggregation import GuidedSwinBlock, SpatialAggregation


def plain_attention(block: GuidedSwinBlock, x: Tensor, guidance: Tensor, window: int, shift: int) -> Tensor:
    """`x` normed `(H, W, D)` of one class, `guidance` normed `(H, W, G)`."""
    attn, (height, width, dim) = block.attn, x.shape
    both = torch.cat((x, guidance), dim=-1)
    query, key, value = attn.q(both), attn.k(both), attn.v(x)
    out = torch.empty_like(x)
    scale = (dim // attn.heads) ** -0.5
    places = [(r, c) for r in range(height) for c in range(width)]

    def window_of(place: tuple[int, int]) -> tuple[int, ...]:
        row, column = (place[0] - shift) % height, (place[1] - shift) % width
        wrapped = (place[0] < shift, place[1] < shift)  # came over the border when the map was rolled
        return row // window, column // window, *wrapped

    for place in places:
        seen = [other for other in places if window_of(other) == window_of(place)]
        for head in range(attn.heads):
            part = slice(head * dim // attn.heads, (head + 1) * dim // attn.heads)
            scores = torch.stack([query[place][part] @ key[other][part] * scale for other in seen]).softmax(0)
            out[place][part] = (scores[:, None] * torch.stack([value[other][part] for other in seen])).sum(0)
    return attn.proj(out)


def plain_aggregation(module: SpatialAggregation, x: Tensor, appearance: Tensor, window: int) -> Tensor:
    height, width = x.shape[2:4]
    shifts = (0, 0) if min(height, width) <= window else (0, window // 2)
    window = min(window, height, width)
    out = torch.empty_like(x)
    for b, t in ((b, t) for b in range(x.shape[0]) for t in range(x.shape[1])):
        tokens, guidance = x[b, t], module.guidance_norm(appearance[b])
        for block, shift in zip(module.blocks, shifts, strict=True):
            tokens = tokens + plain_attention(block, block.norm1(tokens), guidance, window, shift)
            tokens = tokens + block.mlp(block.norm2(tokens))
        out[b, t] = tokens
    return out


@settings(max_examples=8, deadline=None)
@given(
    size=st.sampled_from([(4, 4), (4, 8), (2, 2), (6, 6)]),
    classes=st.integers(1, 3),
    chunk=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_equals_the_plain_form(size: tuple[int, int], classes: int, chunk: int, seed: int) -> None:
    torch.manual_seed(seed)
    window = 3 if size == (6, 6) else 2
    module = SpatialAggregation(dim=4, guidance_dim=3, heads=2, window=window).double()
    x = torch.randn(2, classes, *size, 4, dtype=torch.float64)
    appearance = torch.randn(2, *size, 3, dtype=torch.float64)
    with torch.no_grad():
        expected = plain_aggregation(module, x, appearance, window)
        torch.testing.assert_close(module(x.clone(), appearance, classes_per_chunk=chunk), expected)


def test_gradients_reach_tokens_guidance_and_every_parameter() -> None:
    module = SpatialAggregation(dim=4, guidance_dim=3, heads=2, window=2)
    x = torch.randn(1, 2, 4, 4, 4, requires_grad=True)
    appearance = torch.randn(1, 4, 4, 3, requires_grad=True)
    module(x, appearance, classes_per_chunk=1).square().sum().backward()
    assert x.grad.abs().min() > 0
    assert appearance.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


def test_classes_do_not_see_each_other() -> None:
    module = SpatialAggregation(dim=4, guidance_dim=3, heads=2, window=2)
    x, appearance = torch.randn(1, 3, 4, 4, 4), torch.randn(1, 4, 4, 3)
    with torch.no_grad():
        together = module(x.clone(), appearance, classes_per_chunk=9)
        alone = module(x[:, 1:2].clone(), appearance, classes_per_chunk=9)
    torch.testing.assert_close(together[:, 1:2], alone)


def test_windows_that_do_not_tile_are_named() -> None:
    module = SpatialAggregation(dim=4, guidance_dim=3, heads=2, window=3)
    with pytest.raises(ValueError, match=r"WINDOW_SIZES 3 does not tile FEATURE_RESOLUTION \[4, 8\]"):
        module(torch.randn(1, 1, 4, 8, 4), torch.randn(1, 4, 8, 3), classes_per_chunk=1)
