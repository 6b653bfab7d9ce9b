"""The fused form against a plain one: text guidance repeated for every pixel and concatenated."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from catseg.modeling.aggregation.class_aggregation import ClassAggregation


def plain_attention(module: ClassAggregation, x: Tensor, guidance: Tensor, kind: str) -> Tensor:
    """`x` normed `(T, D)` of one pixel."""
    attn = module.attn
    both = torch.cat((x, guidance), dim=-1)
    heads = []
    for query, key, value in zip(
        *(part.chunk(attn.heads, dim=-1) for part in (attn.q(both), attn.k(both), attn.v(x))), strict=True
    ):
        if kind == "full":
            weights = (query @ key.T / query.shape[-1] ** 0.5).softmax(-1)
        else:
            kernel = (F.elu(query) + 1) @ (F.elu(key) + 1).T
            weights = kernel / (kernel.sum(-1, keepdim=True) + 1e-6)
        heads.append(weights @ value)
    return torch.cat(heads, dim=-1)


def plain_aggregation(module: ClassAggregation, x: Tensor, text: Tensor, kind: str, pooling: int) -> Tensor:
    maps = x.permute(0, 1, 4, 2, 3)
    pooled = torch.stack([F.avg_pool2d(crop, pooling) for crop in maps])
    out = torch.empty_like(pooled)
    for b, row, column in (
        (b, r, c) for b in range(len(x)) for r in range(pooled.shape[3]) for c in range(pooled.shape[4])
    ):
        tokens = pooled[b, :, :, row, column]
        tokens = tokens + plain_attention(module, module.norm1(tokens), text, kind)
        out[b, :, :, row, column] = tokens + module.mlp(module.norm2(tokens))
    size = x.shape[2:4]
    resized = torch.stack([F.interpolate(crop, size=size, mode="bilinear", align_corners=True) for crop in out])
    return x + resized.permute(0, 1, 3, 4, 2)


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(["linear", "full"]),
    pooling=st.sampled_from([1, 2]),
    classes=st.integers(1, 5),
    chunk=st.integers(1, 7),
    training=st.booleans(),
)
def test_equals_the_plain_form(kind: str, pooling: int, classes: int, chunk: int, training: bool) -> None:
    torch.manual_seed(classes)
    sizes = {"pooling": pooling, "pooling_test": 1} if training else {"pooling": 4, "pooling_test": pooling}
    module = ClassAggregation(dim=4, guidance_dim=3, heads=2, attention_type=kind, **sizes).double().train(training)
    x = torch.randn(2, classes, 4, 6, 4, dtype=torch.float64)
    text = torch.randn(classes, 3, dtype=torch.float64)
    with torch.no_grad():
        expected = plain_aggregation(module, x, text, kind, pooling)
        torch.testing.assert_close(module(x, text, chunk=chunk), expected)


def test_gradients_reach_every_parameter() -> None:
    module = ClassAggregation(dim=4, guidance_dim=3, heads=2, pooling=2)
    x = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    module(x, torch.randn(3, 3), chunk=1).square().sum().backward()
    assert x.grad.abs().min() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


def test_the_input_is_left_alone() -> None:
    module = ClassAggregation(dim=4, guidance_dim=3, heads=2)
    x = torch.randn(1, 3, 4, 4, 4)
    before = x.clone()
    with torch.no_grad():
        module(x, torch.randn(3, 3), chunk=1)
    assert torch.equal(x, before)


def test_unknown_attention_is_named() -> None:
    with pytest.raises(ValueError, match="ATTENTION_TYPE must be one of linear, full, got 'softmax'"):
        ClassAggregation(dim=4, guidance_dim=3, heads=2, attention_type="softmax")
