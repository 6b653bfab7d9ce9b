"""Attention in time linear in the number of tokens (Katharopoulos et al., arXiv 2006.16236)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-6


@dataclass(frozen=True)
class RepeatedToken:
    """A token that is attended to as if it were there `count` times, while it is stored once.

    Attributes:
        key: `(..., 1, D)`.
        value: `(..., 1, E)`.
        count: repetitions, 0 or more.
    """

    key: Tensor
    value: Tensor
    count: int


def linear_attention(query: Tensor, key: Tensor, value: Tensor, repeated: RepeatedToken | None = None) -> Tensor:
    """Attention with the kernel `(elu(q) + 1) . (elu(k) + 1)` in place of the exponential, equations 4 to 7.

    The sums over tokens are taken as means, which keeps them in float16's range; the factor cancels.

    Args:
        query: `(..., L, D)`.
        key: `(..., S, D)`.
        value: `(..., S, E)`.
        repeated: a further token, which broadcasts with `key` and `value`.

    Returns:
        `(..., L, E)`.
    """
    query, key = F.elu(query) + 1, F.elu(key) + 1
    length = key.shape[-2] + (repeated.count if repeated else 0)
    weighted_values = key.transpose(-2, -1) @ (value / length)
    key_mean = key.sum(dim=-2).unsqueeze(-1) / length
    if repeated:
        extra = (F.elu(repeated.key) + 1).transpose(-2, -1)
        weighted_values = weighted_values + extra @ (repeated.value * (repeated.count / length))
        key_mean = key_mean + extra * (repeated.count / length)
    normaliser = query @ key_mean
    return (query @ weighted_values) / (normaliser + max(EPSILON / length, torch.finfo(normaliser.dtype).tiny))
