"""CAT-Seg's aggregation head (arXiv 2303.11797) transcribed step by step; parameter names as in `catseg`.

All classes at once. Guidance is repeated for every class or pixel and concatenated before it is projected.
Shapes: B crops, T classes, P prompt templates, C joint embedding width, H x W cells, D channels, G guidance channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from benchmarks.plain.mlp import MLP
from benchmarks.plain.swin import partition, reverse, shift_mask


@dataclass(frozen=True)
class HeadSizes:
    """The numbers that a head is built from, as in the config."""

    templates: int
    text_dim: int
    map_dims: Sequence[int]  # of the backbone, finest first
    dim: int
    layers: int
    heads: int
    window: int
    appearance_dim: int
    text_guidance_dim: int
    decoder_dims: Sequence[int]
    decoder_guidance_dims: Sequence[int]
    pooling: Sequence[int]  # rows and columns of the kernel, the same in every layer
    pooling_test: Sequence[int]


class Attention(nn.Module):
    """Base of both attentions: queries and keys from tokens with guidance, values from tokens alone."""

    def __init__(self, dim: int, guidance_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim + guidance_dim, dim)
        self.k = nn.Linear(dim + guidance_dim, dim)
        self.v = nn.Linear(dim, dim)

    def project(self, x: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens `(N, L, D)` and guidance `(N, L, G)` to queries, keys and values `(N, heads, L, D / heads)`."""
        both = torch.cat((x, guidance), dim=-1)
        parts = (self.q(both), self.k(both), self.v(x))
        q, k, v = (rearrange(part, "n l (k d) -> n k l d", k=self.heads) for part in parts)
        return q, k, v


class WindowAttention(Attention):
    """Softmax attention within windows."""

    def __init__(self, dim: int, guidance_dim: int, heads: int) -> None:
        super().__init__(dim, guidance_dim, heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, guidance: Tensor, mask: Tensor | None) -> Tensor:
        """Map windows `(N, L, D)` with guidance `(N, L, G)` to `(N, L, D)`."""
        q, k, v = self.project(x, guidance)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if mask is not None:
            scores = scores.unflatten(0, (-1, len(mask))) + mask[None, :, None]
            scores = scores.flatten(0, 1)
        return self.proj(rearrange(scores.softmax(dim=-1) @ v, "n k l d -> n l (k d)"))


class SwinBlock(nn.Module):
    """Guided window attention and MLP."""

    def __init__(self, dim: int, guidance_dim: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.window, self.shifted = window, shifted
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, guidance_dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, 4 * dim)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Map `(B * T, H, W, D)` with guidance `(B * T, H, W, G)` to `(B * T, H, W, D)`."""
        height, width = x.shape[1:3]
        window = min(self.window, height, width)
        shift = window // 2 if self.shifted and min(height, width) > window else 0
        normed, mask = self.norm1(x), None
        if shift:
            normed = torch.roll(normed, (-shift, -shift), (1, 2))
            guidance = torch.roll(guidance, (-shift, -shift), (1, 2))
            mask = shift_mask(height, width, window, shift)
        out = self.attn(partition(normed, window), partition(guidance, window), mask)
        out = reverse(out, window, height, width)
        if shift:
            out = torch.roll(out, (shift, shift), (1, 2))
        x = x + out
        return x + self.mlp(self.norm2(x))


class SpatialAggregation(nn.Module):
    """Two Swin blocks for each class alike."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.guidance_norm = nn.LayerNorm(sizes.appearance_dim)
        self.blocks = nn.ModuleList(
            [
                SwinBlock(sizes.dim, sizes.appearance_dim, sizes.heads, sizes.window, shifted)
                for shifted in (False, True)
            ]
        )

    def forward(self, x: Tensor, appearance: Tensor) -> Tensor:
        """Map `(B, D, T, H, W)` with guidance `(B, G, H, W)` to the former's shape."""
        batch, classes = len(x), x.shape[2]
        x = rearrange(x, "b d t h w -> (b t) h w d")
        guidance = self.guidance_norm(repeat(appearance, "b g h w -> (b t) h w g", t=classes))
        for block in self.blocks:
            x = block(x, guidance)
        return rearrange(x, "(b t) h w d -> b d t h w", b=batch)


class ClassAttention(Attention):
    """Linear attention over classes."""

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Map pixels `(N, T, D)` with guidance `(N, T, G)` to `(N, T, D)`."""
        q, k, v = self.project(x, guidance)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        length = v.shape[-2]
        sums = torch.einsum("nksd,nkse->nkde", k, v / length)
        norm = 1 / (torch.einsum("nkld,nkd->nkl", q, k.sum(dim=2)) + 1e-6)
        out = torch.einsum("nkld,nkde,nkl->nkle", q, sums, norm) * length
        return rearrange(out, "n k t d -> n t (k d)")


class ClassAggregation(nn.Module):
    """A transformer block over the classes of each pixel."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.pooling, self.pooling_test = tuple(sizes.pooling), tuple(sizes.pooling_test)
        self.norm1 = nn.LayerNorm(sizes.dim)
        self.attn = ClassAttention(sizes.dim, sizes.text_guidance_dim, sizes.heads)
        self.norm2 = nn.LayerNorm(sizes.dim)
        self.mlp = MLP(sizes.dim, 4 * sizes.dim, nn.ReLU)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """Map `(B, D, T, H, W)` with guidance `(T, G)` to the former's shape."""
        batch, _, classes, height, width = x.shape
        pooled = rearrange(x, "b d t h w -> (b t) d h w")
        pooled = F.avg_pool2d(pooled, self.pooling if self.training else self.pooling_test)
        rows, columns = pooled.shape[2:]
        y = rearrange(pooled, "(b t) d h w -> (b h w) t d", b=batch)
        y = y + self.attn(self.norm1(y), repeat(text, "t g -> n t g", n=len(y)))
        y = y + self.mlp(self.norm2(y))
        y = rearrange(y, "(b h w) t d -> (b t) d h w", b=batch, h=rows, w=columns)
        y = F.interpolate(y, size=(height, width), mode="bilinear", align_corners=True)
        return x + rearrange(y, "(b t) d h w -> b d t h w", t=classes)


class Layer(nn.Module):
    """Spatial, then class aggregation."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.spatial = SpatialAggregation(sizes)
        self.class_ = ClassAggregation(sizes)

    def forward(self, x: Tensor, appearance: Tensor, text: Tensor) -> Tensor:
        """Map `(B, D, T, H, W)` to the same shape."""
        return self.class_(self.spatial(x, appearance), text)


class Upsampling(nn.Module):
    """A transposed convolution, guidance, and two normed convolutions."""

    def __init__(self, in_dim: int, out_dim: int, guidance_dim: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_dim, in_dim - guidance_dim, 2, stride=2)
        self.conv1 = nn.Conv2d(in_dim, out_dim, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(out_dim // 16, out_dim)
        self.conv2 = nn.Conv2d(out_dim, out_dim, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(out_dim // 16, out_dim)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Map `(B * T, in_dim, h, w)` with guidance `(B, G, 2 h, 2 w)` to `(B * T, out_dim, 2 h, 2 w)`."""
        guidance = repeat(guidance, "b g h w -> (b t) g h w", t=len(x) // len(guidance))
        x = torch.cat((self.up(x), guidance), dim=1)
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)))


class Decoder(nn.Module):
    """Upsamplings, then one logit per cell."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        in_dim = sizes.dim
        for out_dim, guidance_dim in zip(sizes.decoder_dims, sizes.decoder_guidance_dims, strict=True):
            self.stages.append(Upsampling(in_dim, out_dim, guidance_dim))
            in_dim = out_dim
        self.head = nn.Conv2d(in_dim, 1, 3, padding=1)

    def forward(self, x: Tensor, guidance: Sequence[Tensor]) -> Tensor:
        """Map `(B, D, T, H, W)` to logits `(B, T, 4 H, 4 W)`."""
        batch = len(x)
        x = rearrange(x, "b d t h w -> (b t) d h w")
        for stage, maps in zip(self.stages, guidance, strict=True):
            x = stage(x, maps)
        return rearrange(self.head(x), "(b t) 1 h w -> b t h w", b=batch)


class Guidance(nn.Module):
    """Projections of backbone maps and text."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        *fine, coarsest = sizes.map_dims
        self.appearance = nn.Conv2d(coarsest, sizes.appearance_dim, 3, padding=1)
        self.text = nn.Linear(sizes.text_dim, sizes.text_guidance_dim)
        dims = zip(reversed(fine), sizes.decoder_guidance_dims, strict=True)
        self.decoder = nn.ModuleList([nn.Conv2d(channels, width, 3, padding=1) for channels, width in dims])


class Embedding(nn.Module):
    """Holds the convolution of the cost volume."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.conv = nn.Conv2d(sizes.templates, sizes.dim, 7, padding=3)


class PlainAggregator(nn.Module):
    """Dense features, backbone maps and text features to logits."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.cost_embedding = Embedding(sizes)
        self.guidance = Guidance(sizes)
        self.layers = nn.ModuleList([Layer(sizes) for _ in range(sizes.layers)])
        self.decoder = Decoder(sizes)

    def forward(self, dense: Tensor, maps: Sequence[Tensor], text: Tensor) -> Tensor:
        """Compute logits.

        Args:
            dense: `(B, C, H, W)`.
            maps: of the backbone, `(B, channels, ...)`, finest first.
            text: `(T, P, C)`, L2-normalised.

        Returns:
            `(B, T, 4 H, 4 W)`.
        """
        *fine, coarsest = maps
        cost = torch.einsum("bchw,tpc->bpthw", F.normalize(dense, dim=1), text)
        classes = len(text)
        x = self.cost_embedding.conv(rearrange(cost, "b p t h w -> (b t) p h w"))
        x = rearrange(x, "(b t) d h w -> b d t h w", t=classes)
        appearance = F.relu(self.guidance.appearance(coarsest))
        words = F.relu(self.guidance.text(F.normalize(text.mean(dim=1), dim=-1)))
        convs = cast(Sequence[nn.Conv2d], self.guidance.decoder)
        decoder_guidance = [F.relu(conv(x)) for conv, x in zip(convs, reversed(fine), strict=True)]
        for layer in self.layers:
            x = layer(x, appearance, words)
        return self.decoder(x, decoder_guidance)
