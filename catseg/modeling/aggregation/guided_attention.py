"""What both aggregations' attentions have in common."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GuidedAttention(nn.Module):
    """Queries and keys of tokens that are concatenated with guidance, and values of the tokens alone.

    Queries and keys are linear in tokens and guidance. So the guidance, which many tokens have in common, is projected
    once and added.
    """

    def __init__(self, *, dim: int, guidance_dim: int, heads: int) -> None:
        super().__init__()
        self.dim, self.heads = dim, heads
        self.q = nn.Linear(dim + guidance_dim, dim)
        self.k = nn.Linear(dim + guidance_dim, dim)
        self.v = nn.Linear(dim, dim)

    def project_guidance(self, guidance: Tensor) -> Tensor:
        """What does not depend on the tokens, zero for values but for the bias: `(..., G)` to `(..., 3 * D)`."""
        values = self.v.weight.new_zeros(self.dim, guidance.shape[-1])
        weight = torch.cat((self.q.weight[:, self.dim :], self.k.weight[:, self.dim :], values))
        return F.linear(guidance, weight, torch.cat((self.q.bias, self.k.bias, self.v.bias)))

    def project(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Queries, keys and values side by side.

        Args:
            x: tokens `(..., D)`.
            guidance: what `project_guidance` gave, of a shape that broadcasts with that of `x`.

        Returns:
            `(..., 3 * D)`.
        """
        weight = torch.cat((self.q.weight[:, : self.dim], self.k.weight[:, : self.dim], self.v.weight))
        qkv = F.linear(x, weight)
        qkv += guidance
        return qkv
