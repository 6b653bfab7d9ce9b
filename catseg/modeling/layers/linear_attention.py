"""Attention that costs time linear in the number of tokens (Katharopoulos et al., arXiv 2006.16236)."""

import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-6


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention with the kernel `(elu(q) + 1) . (elu(k) + 1)` in place of the exponential, equations 4 to 7.

    The sums over tokens are taken as means, which keeps them in float16's range, and the factor cancels in the end.

    Args:
        query: `(..., L, D)`.
        key: `(..., S, D)`.
        value: `(..., S, E)`.

    Returns:
        `(..., L, E)`.
    """
    query, key = F.elu(query) + 1, F.elu(key) + 1
    length = key.shape[-2]
    weighted_values = key.transpose(-2, -1) @ (value / length)
    normaliser = query @ key.sum(dim=-2).unsqueeze(-1) + EPSILON
    return (query @ weighted_values) * (length / normaliser)
