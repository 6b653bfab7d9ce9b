"""Class aggregation: at every pixel the classes look at each other, guided by their names (section 3.3).

Shapes: B crops, T classes, H x W cells, N cells in one axis, D channels, G guidance channels.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.layers import Mlp
from torch import Tensor, nn

from catseg.modeling.layers.chunking import map_chunks
from catseg.modeling.layers.linear_attention import RepeatedToken, linear_attention


def softmax_attention(query: Tensor, key: Tensor, value: Tensor, repeated: RepeatedToken | None = None) -> Tensor:
    """Ordinary attention. Arguments as `linear_attention`; a repeated token's weight enters as a logarithm."""
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


class GuidedClassAttention(nn.Module):
    """Attention over classes whose queries and keys also see the text guidance, which is projected once and added."""

    def __init__(self, *, dim: int, guidance_dim: int, heads: int, attention_type: str) -> None:
        super().__init__()
        if attention_type not in ATTENTION_TYPES:
            raise ValueError(f"ATTENTION_TYPE must be one of {', '.join(ATTENTION_TYPES)}, got {attention_type!r}")
        self.dim, self.heads = dim, heads
        self.attend = ATTENTION_TYPES[attention_type]
        self.q = nn.Linear(dim + guidance_dim, dim)
        self.k = nn.Linear(dim + guidance_dim, dim)
        self.v = nn.Linear(dim, dim)

    def forward(self, x: Tensor, guidance: Tensor, repeated: RepeatedToken | None = None) -> Tensor:
        """Attend.

        Args:
            x: normed tokens `(B, N, T, D)`.
            guidance: text guidance `(B, T, G)`, or `(1, T, G)` for all crops.
            repeated: what `repeat` gave, if there are tokens besides those of the classes.

        Returns:
            `(B, N, T, D)`.
        """
        guidance = guidance.unsqueeze(1)
        query, key = (self._split(self._project(layer, x, guidance)) for layer in (self.q, self.k))
        out = self.attend(query, key, self._split(self.v(x)), repeated)
        return rearrange(out, "(b n) k t d -> b n t (k d)", b=len(x))

    def repeat(self, x: Tensor, guidance: Tensor, *, count: int) -> RepeatedToken:
        """Project a normed token `(1, 1, D)` with its guidance `(1, 1, G)`, which is there `count` times."""
        key = self._project(self.k, x, guidance)
        return RepeatedToken(key=self._split(key.unsqueeze(0)), value=self._split(self.v(x).unsqueeze(0)), count=count)

    def _project(self, layer: nn.Linear, x: Tensor, guidance: Tensor) -> Tensor:
        """`layer` of the two concatenated, where `guidance` lacks axes of `x` or has length 1 there."""
        return F.linear(x, layer.weight[:, : self.dim]) + F.linear(guidance, layer.weight[:, self.dim :], layer.bias)

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n t (k d) -> (b n) k t d", k=self.heads)


class ClassAggregation(nn.Module):
    """A transformer block over the classes of each pixel, on a map that is pooled first and resized back.

    With `class_tokens`, the attention sees that many tokens however few the classes are (CAT-Seg v2): the others are
    one learned token with one learned guidance vector, counted as often as it takes.
    """

    def __init__(
        self,
        *,
        dim: int,
        guidance_dim: int,
        heads: int,
        attention_type: str = "linear",
        pooling: int = 1,
        pooling_test: int = 1,
        class_tokens: int = 0,
    ) -> None:
        """Build the block.

        Args:
            dim: channels D.
            guidance_dim: width G of the text guidance.
            heads: attention heads.
            attention_type: `linear` or `full` (softmax).
            pooling: side of the average pooling in training, in tokens.
            pooling_test: the same in inference.
            class_tokens: tokens that the attention sees; 0 for those of the classes alone.

        Raises:
            ValueError: for an unknown `attention_type`.
        """
        super().__init__()
        self.pooling, self.pooling_test, self.class_tokens = pooling, pooling_test, class_tokens
        self.norm1 = nn.LayerNorm(dim)
        self.attn = GuidedClassAttention(dim=dim, guidance_dim=guidance_dim, heads=heads, attention_type=attention_type)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim, act_layer=nn.ReLU)
        if class_tokens:
            self.padding_tokens = nn.Parameter(torch.zeros(1, 1, dim))
            self.padding_guidance = nn.Parameter(torch.zeros(1, 1, guidance_dim))

    def forward(self, x: Tensor, text_guidance: Tensor, *, chunk: int) -> Tensor:
        """Aggregate over the classes.

        Args:
            x: `(B, T, H, W, D)`, with at most `class_tokens` classes if that is not 0.
            text_guidance: `(B, T, G)`, or `(1, T, G)` for all crops.
            chunk: rows of maps (as many as this number of class maps has) to work on at once.

        Returns:
            `(B, T, H, W, D)`: the input plus the block's output, which holds its input once more.
        """
        _, classes, height, width, _ = x.shape
        pooling = self.pooling if self.training else self.pooling_test
        pooled = _pool(x, pooling)
        padding = self._padding(classes)

        def run_block(rows: Tensor) -> Tensor:
            tokens = rearrange(rows, "b t h w d -> b (h w) t d")
            tokens = tokens + self.attn(self.norm1(tokens), text_guidance, padding)
            tokens = tokens + self.mlp(self.norm2(tokens))
            return rearrange(tokens, "b (h w) t d -> b t h w d", h=rows.shape[2])

        rows = max(1, pooled.shape[2] * chunk // classes)
        out = run_block(pooled) if torch.is_grad_enabled() else map_chunks(run_block, pooled, dim=2, size=rows)
        return x + _resize(out, (height, width))

    def _padding(self, classes: int) -> RepeatedToken | None:
        """What the attention sees besides the classes: tokens that nobody reads, so only their keys and values."""
        if not self.class_tokens:
            return None
        count = self.class_tokens - classes
        return self.attn.repeat(self.norm1(self.padding_tokens), self.padding_guidance, count=count)


def _pool(x: Tensor, size: int) -> Tensor:
    """Average-pool maps `(B, T, H, W, D)` by `size`."""
    if size == 1:
        return x
    maps = F.avg_pool2d(x.flatten(0, 1).permute(0, 3, 1, 2), size)
    return maps.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps `(B, T, h, w, D)` bilinearly, corner on corner, to `(B, T, *size, D)`."""
    if x.shape[2:4] == size:
        return x
    maps = F.interpolate(x.flatten(0, 1).permute(0, 3, 1, 2), size=size, mode="bilinear", align_corners=True)
    return maps.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
