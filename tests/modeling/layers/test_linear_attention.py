import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from catseg.modeling.layers.linear_attention import RepeatedToken, linear_attention


@given(queries=st.integers(1, 7), keys=st.integers(1, 9), seed=st.integers(0, 99))
def test_equals_attention_with_the_kernel_written_out(queries: int, keys: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(2, 3, queries, 4, generator=generator, dtype=torch.float64)
    key = torch.randn(2, 3, keys, 4, generator=generator, dtype=torch.float64)
    value = torch.randn(2, 3, keys, 5, generator=generator, dtype=torch.float64)
    kernel = (F.elu(query) + 1) @ (F.elu(key) + 1).transpose(-2, -1)
    expected = (kernel / (kernel.sum(-1, keepdim=True) + 1e-6)) @ value
    torch.testing.assert_close(linear_attention(query, key, value), expected)


def test_many_tokens_stay_within_float16() -> None:
    query = torch.ones(1, 1, 2000, 8, dtype=torch.float16)
    out = linear_attention(query, query, 50 * query)
    torch.testing.assert_close(out, 50 * query, rtol=1e-2, atol=0)


@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_large_queries_and_keys_stay_within_float16(spread: float) -> None:
    query, key, value = (factor * torch.randn(4, 847, 32) for factor in (spread, spread, 1.0))
    out = linear_attention(query.half(), key.half(), value.half())
    torch.testing.assert_close(out.float(), linear_attention(query, key, value), rtol=1e-2, atol=1e-3)


@given(count=st.integers(0, 6))
def test_a_repeated_token_counts_as_often_as_it_is_there(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    query, key, value = (torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    extra = torch.randn(1, 3, 1, 4, generator=generator, dtype=torch.float64)
    repeated = extra.expand(2, -1, count, -1)
    expected = linear_attention(query, torch.cat((key, repeated), dim=-2), torch.cat((value, 2 * repeated), dim=-2))
    out = linear_attention(query, key, value, RepeatedToken(key=extra, value=2 * extra, count=count))
    torch.testing.assert_close(out, expected)
