"""Spatial aggregation: every class's cost map is smoothed within windows, guided by the picture (section 3.2).

Shapes: B crops, T classes, H x W tokens, D channels, G guidance channels.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from catseg.modeling.layers.chunking import map_chunks
from catseg.modeling.layers.windows import join_windows, shifted_window_mask, split_windows


class GuidedWindowAttention(nn.Module):
    """Windowed attention whose queries and keys also see the appearance guidance.

    Queries and keys are linear in tokens and guidance, so the guidance, which all classes have in common, is projected
    once and added.
    """

    def __init__(self, *, dim: int, guidance_dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.dim, self.heads, self.window = dim, heads, window
        self.q = nn.Linear(dim + guidance_dim, dim)
        self.k = nn.Linear(dim + guidance_dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def project_guidance(self, guidance: Tensor) -> Tensor:
        """The guidance's share of queries and keys: `(B, H, W, G)` to `(B, 1, H, W, 2 * D)`."""
        weight = torch.cat((self.q.weight[:, self.dim :], self.k.weight[:, self.dim :]))
        return F.linear(guidance, weight).unsqueeze(1)

    def forward(self, x: Tensor, guidance: Tensor, *, shifted: bool) -> Tensor:
        """Attend within windows.

        Args:
            x: normed tokens `(B, T, H, W, D)`.
            guidance: what `project_guidance` gave.
            shifted: move the windows by half their side.

        Returns:
            `(B, T, H, W, D)`.

        Raises:
            ValueError: if the windows do not tile the map.
        """
        size = (x.shape[2], x.shape[3])
        window = min(self.window, *size)
        if size[0] % window or size[1] % window:
            raise ValueError(f"WINDOW_SIZES {self.window} does not tile FEATURE_RESOLUTION {list(size)}")
        shift = window // 2 if shifted and min(size) > window else 0
        qkv = F.linear(x, *self._token_projection())
        qkv[..., : 2 * self.dim] += guidance
        qkv = qkv.flatten(0, 1).roll((-shift, -shift), dims=(1, 2)) if shift else qkv.flatten(0, 1)
        query, key, value = (split_windows(part, window, self.heads) for part in qkv.chunk(3, dim=-1))
        mask = shifted_window_mask(size, window, shift, self.heads, like=query) if shift else None
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out = join_windows(attended, window, self.heads, size)
        out = out.roll((shift, shift), dims=(1, 2)) if shift else out
        return self.proj(out.unflatten(0, x.shape[:2]))

    def _token_projection(self) -> tuple[Tensor, Tensor]:
        """Weight and bias that give the tokens' share of queries, keys and values in one product."""
        weight = torch.cat((self.q.weight[:, : self.dim], self.k.weight[:, : self.dim], self.v.weight))
        return weight, torch.cat((self.q.bias, self.k.bias, self.v.bias))


class GuidedSwinBlock(nn.Module):
    """A pre-norm transformer block around guided windowed attention."""

    def __init__(self, *, dim: int, guidance_dim: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(dim)
        self.attn = GuidedWindowAttention(dim=dim, guidance_dim=guidance_dim, heads=heads, window=window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Map tokens `(B, T, H, W, D)` to the same shape; `guidance` comes from `attn.project_guidance`."""
        x = x + self.attn(self.norm1(x), guidance, shifted=self.shifted)
        return x + self.mlp(self.norm2(x))


class SpatialAggregation(nn.Module):
    """Two guided Swin blocks, the second with shifted windows, for each class alike."""

    def __init__(self, *, dim: int, guidance_dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.guidance_norm = nn.LayerNorm(guidance_dim)
        self.blocks = nn.ModuleList(
            GuidedSwinBlock(dim=dim, guidance_dim=guidance_dim, heads=heads, window=window, shifted=shifted)
            for shifted in (False, True)
        )

    def forward(self, x: Tensor, appearance: Tensor, *, chunk: int) -> Tensor:
        """Aggregate over the map.

        Args:
            x: `(B, T, H, W, D)`; overwritten where no gradient is recorded.
            appearance: appearance guidance `(B, H, W, G)`.
            chunk: classes to work on at once.

        Returns:
            `(B, T, H, W, D)`.
        """
        normed = self.guidance_norm(appearance)
        blocks = cast(Sequence[GuidedSwinBlock], self.blocks)
        guidance = [block.attn.project_guidance(normed) for block in blocks]

        def run_blocks(tokens: Tensor) -> Tensor:
            for block, share in zip(blocks, guidance, strict=True):
                tokens = block(tokens, share)
            return tokens

        if torch.is_grad_enabled():
            return run_blocks(x)
        return map_chunks(run_blocks, x, dim=1, size=chunk, in_place=True)
