"""The attention projections that spatial and class aggregation share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GuidedAttention(nn.Module):
    """Projects tokens concatenated with guidance to queries and keys, and the tokens alone to values.

    The projections are linear, so guidance that many tokens share is projected once and added.
    """

    def __init__(self, *, dim: int, guidance_dim: int, heads: int) -> None:
        super().__init__()
        self.dim, self.heads = dim, heads
        self.q = nn.Linear(dim + guidance_dim, dim)
        self.k = nn.Linear(dim + guidance_dim, dim)
        self.v = nn.Linear(dim, dim)

    def project_guidance(self, guidance: Tensor) -> Tensor:
        """Project guidance `(..., G)`, biases included, to its share of queries, keys and values: `(..., 3 * D)`."""
        values = self.v.weight.new_zeros(self.dim, guidance.shape[-1])
        weight = torch.cat((self.q.weight[:, self.dim :], self.k.weight[:, self.dim :], values))
        return F.linear(guidance, weight, torch.cat((self.q.bias, self.k.bias, self.v.bias)))

    def project(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Compute queries, keys and values, concatenated.

        Args:
            x: tokens `(..., D)`.
            guidance: the output of `project_guidance`, which broadcasts with `x`.

        Returns:
            `(..., 3 * D)`.
        """
        weight = torch.cat((self.q.weight[:, : self.dim], self.k.weight[:, : self.dim], self.v.weight))
        qkv = F.linear(x, weight)
        qkv += guidance
        return qkv
