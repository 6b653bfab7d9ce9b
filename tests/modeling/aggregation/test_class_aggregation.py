"""The fused form against a plain one: text guidance repeated for every pixel and concatenated."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

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


def plain_aggregation(module: ClassAggregation, x: Tensor, text: Tensor, kind: str, pooling: tuple[int, int]) -> Tensor:
    """`text` `(B, T, G)`. The padding is repeated and goes all the way through the block, like a class."""
    maps = x.permute(0, 1, 4, 2, 3)
    pooled = torch.stack([F.avg_pool2d(crop, pooling) for crop in maps])
    out = torch.empty_like(pooled)
    for b, row, column in (
        (b, r, c) for b in range(len(x)) for r in range(pooled.shape[3]) for c in range(pooled.shape[4])
    ):
        tokens, guidance = pooled[b, :, :, row, column], text[b]
        if module.class_tokens:
            tokens, guidance = (
                torch.cat((own, padding[0].expand(module.class_tokens - len(own), -1)))
                for own, padding in ((tokens, module.padding_tokens), (guidance, module.padding_guidance))
            )
        tokens = tokens + plain_attention(module, module.norm1(tokens), guidance, kind)
        out[b, :, :, row, column] = (tokens + module.mlp(module.norm2(tokens)))[: x.shape[1]]
    size = x.shape[2:4]
    resized = torch.stack([F.interpolate(crop, size=size, mode="bilinear", align_corners=True) for crop in out])
    return x + resized.permute(0, 1, 3, 4, 2)


def aggregation(**options: Any) -> ClassAggregation:
    """A small block; the padding has values, as after some training."""
    module = ClassAggregation(dim=4, guidance_dim=3, heads=2, **options)
    if module.class_tokens:
        nn.init.normal_(module.padding_tokens)
        nn.init.normal_(module.padding_guidance)
    return module


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["linear", "full"]),
    pooling=st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 1), (2, 5)]),
    classes=st.integers(1, 5),
    chunk=st.integers(1, 7),
    training=st.booleans(),
    class_tokens=st.sampled_from([0, 5, 40]),
)
def test_equals_the_plain_form(
    kind: str, pooling: tuple[int, int], classes: int, chunk: int, training: bool, class_tokens: int
) -> None:
    torch.manual_seed(classes)
    sizes = {"pooling": pooling} if training else {"pooling": (4, 3), "pooling_test": pooling}
    module = aggregation(attention_type=kind, class_tokens=class_tokens, **sizes).double().train(training)
    x = torch.randn(2, classes, 4, 6, 4, dtype=torch.float64)
    text = torch.randn(2, classes, 3, dtype=torch.float64)
    with torch.no_grad():
        expected = plain_aggregation(module, x, text, kind, pooling)
        torch.testing.assert_close(module(x.clone(), text, classes_per_chunk=chunk), expected)
        shared = module(x.clone(), text[:1], classes_per_chunk=chunk)
        torch.testing.assert_close(shared[0], expected[0])


@pytest.mark.parametrize("kind", ["linear", "full"])
def test_padding_trains_like_repeated_tokens(kind: str) -> None:
    module = aggregation(attention_type=kind, class_tokens=7).double()
    x, text = torch.randn(1, 3, 2, 2, 4, dtype=torch.float64), torch.randn(1, 3, 3, dtype=torch.float64)
    gradients = []
    for out in (module(x, text, classes_per_chunk=1), plain_aggregation(module, x, text, kind, (1, 1))):
        gradients.append(torch.autograd.grad(out.square().sum(), list(module.parameters())))
    for fused, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(fused, plain)


@pytest.mark.parametrize("kind", ["linear", "full"])
def test_padding_that_is_not_needed_gets_a_gradient_of_zero(kind: str) -> None:
    module = aggregation(attention_type=kind, class_tokens=3)
    module(torch.randn(1, 3, 2, 2, 4), torch.randn(1, 3, 3), classes_per_chunk=1).square().sum().backward()
    assert module.padding_tokens.grad.abs().sum() == 0
    assert module.padding_guidance.grad.abs().sum() == 0


def test_gradients_reach_every_parameter() -> None:
    module = ClassAggregation(dim=4, guidance_dim=3, heads=2, pooling=(2, 2))
    x = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    module(x, torch.randn(1, 3, 3), classes_per_chunk=1).square().sum().backward()
    assert x.grad.abs().min() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


@pytest.mark.parametrize("pooling", [(1, 1), (2, 2)])
def test_no_second_map_of_all_classes_is_kept(pooling: tuple[int, int]) -> None:
    module = ClassAggregation(dim=4, guidance_dim=3, heads=2, pooling_test=pooling).eval()
    x = torch.randn(1, 3, 4, 4, 4)
    with torch.no_grad():
        assert module(x, torch.randn(1, 3, 3), classes_per_chunk=1).data_ptr() == x.data_ptr()
    kept = x.clone()
    module(x, torch.randn(1, 3, 3), classes_per_chunk=1)  # records gradients
    assert torch.equal(x, kept)


def test_a_map_too_small_to_pool_is_named() -> None:
    module = ClassAggregation(dim=4, guidance_dim=3, heads=2, pooling=(2, 7))
    with pytest.raises(ValueError, match=r"POOLING_SIZES \[2, 7\] is larger than FEATURE_RESOLUTION \[4, 6\]"):
        module(torch.randn(1, 3, 4, 6, 4), torch.randn(1, 3, 3), classes_per_chunk=1)


def test_unknown_attention_is_named() -> None:
    with pytest.raises(ValueError, match="ATTENTION_TYPE must be one of linear, full, got 'softmax'"):
        ClassAggregation(dim=4, guidance_dim=3, heads=2, attention_type="softmax")
