"""Class aggregation: attention among the classes of each pixel, guided by text features (section 3.3).

Shapes: B crops, T classes, H x W cells, N cells in one axis, D channels, G guidance channels.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from timm.layers import Mlp
from torch import Tensor, nn

from catseg.errors import InputError
from catseg.modeling.aggregation.guided_attention import GuidedAttention
from catseg.modeling.layers.checkpointing import checkpointed
from catseg.modeling.layers.chunking import map_chunks
from catseg.modeling.layers.linear_attention import RepeatedToken, linear_attention


def softmax_attention(query: Tensor, key: Tensor, value: Tensor, repeated: RepeatedToken | None = None) -> Tensor:
    """Softmax attention, with the arguments of `linear_attention`; repetitions enter as a logarithm in the mask."""
    if repeated is None:
        return F.scaled_dot_product_attention(query, key, value)
    key, value = (
        torch.cat((tokens, extra.expand(*tokens.shape[:-2], -1, -1)), dim=-2)
        for tokens, extra in ((key, repeated.key), (value, repeated.value))
    )
    mask = query.new_zeros(1, key.shape[-2])
    mask[:, -1] = math.log(repeated.count) if repeated.count else -math.inf
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


ATTENTION_TYPES = {"linear": linear_attention, "full": softmax_attention}


class GuidedClassAttention(GuidedAttention):
    """Attention over classes, guided by text features."""

    def __init__(self, *, dim: int, guidance_dim: int, heads: int, attention_type: str) -> None:
        super().__init__(dim=dim, guidance_dim=guidance_dim, heads=heads)
        if attention_type not in ATTENTION_TYPES:
            raise InputError(f"ATTENTION_TYPE must be one of {', '.join(ATTENTION_TYPES)}, got {attention_type!r}")
        self.attend = ATTENTION_TYPES[attention_type]

    def forward(self, x: Tensor, guidance: Tensor, repeated: RepeatedToken | None = None) -> Tensor:
        """Attend.

        Args:
            x: normed tokens `(B, N, T, D)`.
            guidance: the output of `project_guidance`, `(B, 1, T, 3 * D)`, or `(1, 1, T, 3 * D)` if crops share it.
            repeated: the output of `repeat`, if there are padding tokens.

        Returns:
            `(B, N, T, D)`.
        """
        out = self.attend(*self._heads(x, guidance), repeated)
        return rearrange(out, "(b n) k t d -> b n t (k d)", b=len(x))

    def repeat(self, x: Tensor, guidance: Tensor, *, count: int) -> RepeatedToken:
        """Project a normed token `(1, 1, D)` with its guidance `(1, 1, G)`, to be attended to `count` times."""
        _, key, value = self._heads(x.unsqueeze(0), self.project_guidance(guidance).unsqueeze(0))
        return RepeatedToken(key=key, value=value, count=count)

    def _heads(self, x: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute queries, keys and values, `(B * N, heads, T, D / heads)` each."""
        query, key, value = rearrange(
            self.project(x, guidance), "b n t (i k d) -> i (b n) k t d", i=3, k=self.heads
        ).unbind()
        return query, key, value


class ClassAggregation(nn.Module):
    """A transformer block over the classes of each pixel, on a map that is pooled first and resized back.

    With `class_tokens`, fewer classes are padded to that many tokens (CAT-Seg v2): the padding is one learned token
    with one learned guidance vector, repeated.
    """

    def __init__(
        self,
        *,
        dim: int,
        guidance_dim: int,
        heads: int,
        attention_type: str = "linear",
        pooling: Sequence[int] = (1, 1),
        pooling_test: Sequence[int] = (1, 1),
        class_tokens: int = 0,
    ) -> None:
        """Build the block.

        Args:
            dim: channels D.
            guidance_dim: width G of the text guidance.
            heads: attention heads.
            attention_type: `linear` or `full` (softmax).
            pooling: rows and columns of the kernel of the average pooling in training, in tokens.
            pooling_test: the same in inference.
            class_tokens: tokens to pad the classes to; 0 for no padding.

        Raises:
            ValueError: for an unknown `attention_type`.
        """
        super().__init__()
        self.pooling, self.pooling_test, self.class_tokens = tuple(pooling), tuple(pooling_test), class_tokens
        self.norm1 = nn.LayerNorm(dim)
        self.attn = GuidedClassAttention(dim=dim, guidance_dim=guidance_dim, heads=heads, attention_type=attention_type)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim, act_layer=nn.ReLU)
        if class_tokens:
            self.padding_tokens = nn.Parameter(torch.zeros(1, 1, dim))
            self.padding_guidance = nn.Parameter(torch.zeros(1, 1, guidance_dim))

    def forward(self, x: Tensor, text_guidance: Tensor, *, classes_per_chunk: int) -> Tensor:
        """Aggregate over the classes.

        Args:
            x: `(B, T, H, W, D)`, with at most `class_tokens` classes if that is not 0; overwritten where no gradient is
                recorded.
            text_guidance: `(B, T, G)`, or `(1, T, G)` if all crops share it.
            classes_per_chunk: as many cells are worked on at once, with all of their classes, as this number of maps
                has.

        Returns:
            `(B, T, H, W, D)`: the input plus the block's output. The block is residual itself, so the input enters
            twice, as in the published network.
        """
        _, classes, height, width, _ = x.shape
        pooling = self.pooling if self.training else self.pooling_test
        guidance = self.attn.project_guidance(text_guidance).unsqueeze(1)
        padding = self._padding(classes)

        def run_block(cells: Tensor) -> Tensor:
            tokens = rearrange(cells, "b t n d -> b n t d").contiguous()
            tokens = tokens + self.attn(self.norm1(tokens), guidance, padding)
            tokens = tokens + self.mlp(self.norm2(tokens))
            return rearrange(tokens, "b n t d -> b t n d")

        pooled = _pool(x, pooling)
        cells = pooled.flatten(2, 3)
        size = max(1, cells.shape[2] * classes_per_chunk // classes)
        if pooling == (1, 1):
            out = map_chunks(
                lambda piece: piece + checkpointed(run_block, piece), cells, dim=2, size=size, in_place=True
            )
            return out.view_as(x)
        out = map_chunks(partial(checkpointed, run_block), cells, dim=2, size=size, in_place=True).view_as(pooled)
        if torch.is_grad_enabled():
            return x + _resize(out, (height, width))
        for piece, addend in zip(x.split(classes_per_chunk, dim=1), out.split(classes_per_chunk, dim=1), strict=True):
            piece += _resize(addend, (height, width))
        return x

    def _padding(self, classes: int) -> RepeatedToken | None:
        """Project the padding to keys and values; its outputs are not used, so it needs no queries."""
        if not self.class_tokens:
            return None
        count = self.class_tokens - classes
        return self.attn.repeat(self.norm1(self.padding_tokens), self.padding_guidance, count=count)


def _pool(x: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Average-pool maps `(B, T, H, W, D)` by `kernel`; rows and columns that do not fill a cell are dropped."""
    if kernel == (1, 1):
        return x
    rows, columns = (side // size * size for side, size in zip(x.shape[2:4], kernel, strict=True))
    if not rows or not columns:
        raise InputError(f"POOLING_SIZES {list(kernel)} is larger than FEATURE_RESOLUTION {list(x.shape[2:4])}")
    return reduce(x[:, :, :rows, :columns], "b t (h i) (w j) d -> b t h w d", "mean", i=kernel[0], j=kernel[1])


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps `(B, T, h, w, D)` bilinearly, with aligned corners, to `(B, T, *size, D)`."""
    if x.shape[2:4] == size:
        return x
    maps = F.interpolate(x.flatten(0, 1).permute(0, 3, 1, 2), size=size, mode="bilinear", align_corners=True)
    return maps.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
