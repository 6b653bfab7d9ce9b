"""Spatial aggregation: windowed attention within the cost map of each class, guided by the image (section 3.2).

Shapes: B crops, T classes, H x W = L tokens, D channels, G guidance channels.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.layers import Mlp
from torch import Tensor, nn

from catseg.errors import InputError
from catseg.modeling.aggregation.guided_attention import GuidedAttention
from catseg.modeling.layers.checkpointing import checkpointed
from catseg.modeling.layers.chunking import map_chunks
from catseg.modeling.layers.windows import Regions, attention_regions


class GuidedRegionAttention(GuidedAttention):
    """Attention within regions of a map, guided by the image's appearance."""

    def __init__(self, *, dim: int, guidance_dim: int, heads: int) -> None:
        super().__init__(dim=dim, guidance_dim=guidance_dim, heads=heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, qkv: Tensor, groups: Sequence[tuple[int, int]]) -> Tensor:
        """Attend within regions.

        Args:
            qkv: the output of `project` for normed tokens, region by region: `(B, T, L, 3 * D)`.
            groups: as in `Regions`.

        Returns:
            `(B, T, L, D)`.
        """
        size = (*qkv.shape[:-1], self.dim)
        parts = qkv.flatten(0, 1).split([count * length for count, length in groups], dim=1)
        out = [self._attend(part, length) for part, (_, length) in zip(parts, groups, strict=True)]
        # The attention keeps its outputs anyway, so the projection need not keep a concatenated copy.
        return checkpointed(lambda *parts: self.proj(torch.cat(parts, dim=1).view(size)), *out)

    def _attend(self, qkv: Tensor, length: int) -> Tensor:
        """Attend within regions of one length: `(N, regions * length, 3 * D)` to `(N, regions * length, D)`."""
        heads = rearrange(qkv, "n (r l) (i k d) -> i (n r) k l d", l=length, i=3, k=self.heads)
        heads = heads.contiguous()  # a view would keep the tokens of all regions for the backward pass
        out = F.scaled_dot_product_attention(*heads)
        return rearrange(out, "(n r) k l d -> n (r l) (k d)", n=len(qkv))


class GuidedSwinBlock(nn.Module):
    """A pre-norm transformer block around guided attention within regions."""

    def __init__(self, *, dim: int, guidance_dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = GuidedRegionAttention(dim=dim, guidance_dim=guidance_dim, heads=heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor, guidance: Tensor, groups: Sequence[tuple[int, int]]) -> Tensor:
        """Map tokens to the same shape.

        Args:
            x: `(B, T, L, D)`, region by region.
            guidance: the output of the attention's `project_guidance`, in the same order: `(B, 1, L, 3 * D)`.
            groups: as in `Regions`.

        Returns:
            `(B, T, L, D)`.
        """
        x = x + self.attn(checkpointed(self._project, x, guidance), groups)
        return x + checkpointed(self._mlp, x)

    def _project(self, x: Tensor, guidance: Tensor) -> Tensor:
        return self.attn.project(self.norm1(x), guidance)

    def _mlp(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.mlp(self.norm2(x)))


class SpatialAggregation(nn.Module):
    """Two guided Swin blocks, the second with shifted windows, applied to each class."""

    def __init__(self, *, dim: int, guidance_dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.guidance_norm = nn.LayerNorm(guidance_dim)
        self.window = window
        self.blocks = nn.ModuleList(GuidedSwinBlock(dim=dim, guidance_dim=guidance_dim, heads=heads) for _ in range(2))

    def forward(self, x: Tensor, appearance: Tensor, *, classes_per_chunk: int) -> Tensor:
        """Aggregate over the cells.

        Args:
            x: `(B, T, H, W, D)`; overwritten where no gradient is recorded.
            appearance: appearance guidance `(B, H, W, G)`.
            classes_per_chunk: classes to work on at once.

        Returns:
            `(B, T, H, W, D)`.
        """
        size = (x.shape[2], x.shape[3])
        regions = [self._regions(size, shifted=shifted, device=x.device) for shifted in (False, True)]
        whole = Regions(torch.arange(size[0] * size[1], device=x.device), ())
        *moves, back = (order.after(before) for before, order in pairwise([whole, *regions, whole]))
        normed = self.guidance_norm(appearance).flatten(1, 2).unsqueeze(1)
        blocks = cast(Sequence[GuidedSwinBlock], self.blocks)
        shares = [
            block.attn.project_guidance(normed[:, :, order.order]) for block, order in zip(blocks, regions, strict=True)
        ]

        def run_blocks(maps: Tensor) -> Tensor:
            tokens = maps.flatten(2, 3)
            for block, share, order, move in zip(blocks, shares, regions, moves, strict=True):
                tokens = block(tokens.index_select(2, move), share, order.groups)
            return tokens.index_select(2, back).unflatten(2, size)

        return map_chunks(run_blocks, x, dim=1, size=classes_per_chunk, in_place=True)

    def _regions(self, size: tuple[int, int], *, shifted: bool, device: torch.device) -> Regions:
        """Group the tokens of a map by window; shifted windows are offset by half a window if there are several."""
        window = min(self.window, *size)
        if size[0] % window or size[1] % window:
            raise InputError(f"WINDOW_SIZES {self.window} does not tile FEATURE_RESOLUTION {list(size)}")
        shift = window // 2 if shifted and min(size) > window else 0
        return attention_regions(size, window, shift, device)
