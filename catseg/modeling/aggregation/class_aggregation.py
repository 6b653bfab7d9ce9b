"""Class aggregation: at every pixel the classes look at each other, guided by their names (section 3.3).

Shapes: B crops, T classes, H x W tokens, N pixels in one axis, D channels, G guidance channels.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.layers import Mlp
from torch import Tensor, nn

from catseg.modeling.layers.chunking import map_chunks
from catseg.modeling.layers.linear_attention import linear_attention

ATTENTION_TYPES = {"linear": linear_attention, "full": F.scaled_dot_product_attention}


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

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Map normed tokens `(N, T, D)` and text guidance `(T, G)` to `(N, T, D)`."""
        query, key = (
            F.linear(x, layer.weight[:, : self.dim]) + F.linear(guidance, layer.weight[:, self.dim :], layer.bias)
            for layer in (self.q, self.k)
        )
        query, key, value = (rearrange(part, "n t (k d) -> n k t d", k=self.heads) for part in (query, key, self.v(x)))
        return rearrange(self.attend(query, key, value), "n k t d -> n t (k d)")


class ClassAggregation(nn.Module):
    """A transformer block over the classes of each pixel, on a map that is pooled first and resized back."""

    def __init__(
        self,
        *,
        dim: int,
        guidance_dim: int,
        heads: int,
        attention_type: str = "linear",
        pooling: int = 1,
        pooling_test: int = 1,
    ) -> None:
        """Build the block.

        Args:
            dim: channels D.
            guidance_dim: width G of the text guidance.
            heads: attention heads.
            attention_type: `linear` or `full` (softmax).
            pooling: side of the average pooling in training, in tokens.
            pooling_test: the same in inference.

        Raises:
            ValueError: for an unknown `attention_type`.
        """
        super().__init__()
        self.pooling, self.pooling_test = pooling, pooling_test
        self.norm1 = nn.LayerNorm(dim)
        self.attn = GuidedClassAttention(dim=dim, guidance_dim=guidance_dim, heads=heads, attention_type=attention_type)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim, act_layer=nn.ReLU)

    def forward(self, x: Tensor, text_guidance: Tensor, *, chunk: int) -> Tensor:
        """Aggregate over the classes.

        Args:
            x: `(B, T, H, W, D)`.
            text_guidance: `(T, G)`.
            chunk: rows of maps (as many as this number of class maps has) to work on at once.

        Returns:
            `(B, T, H, W, D)`: the input plus the block's output, which holds its input once more.
        """
        _, classes, height, width, _ = x.shape
        pooling = self.pooling if self.training else self.pooling_test
        pooled = _pool(x, pooling)

        def run_block(rows: Tensor) -> Tensor:
            tokens = rearrange(rows, "b t h w d -> (b h w) t d")
            tokens = tokens + self.attn(self.norm1(tokens), text_guidance)
            tokens = tokens + self.mlp(self.norm2(tokens))
            return rearrange(tokens, "(b h w) t d -> b t h w d", b=rows.shape[0], h=rows.shape[2])

        rows = max(1, pooled.shape[2] * chunk // classes)
        out = run_block(pooled) if torch.is_grad_enabled() else map_chunks(run_block, pooled, dim=2, size=rows)
        return x + _resize(out, (height, width))


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
