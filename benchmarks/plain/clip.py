"""CLIP transcribed step by step, without a thought for speed; parameter names as in open_clip.

Shapes: B images or prompts, L tokens, D width, C width of the joint embedding, H x W patches.
"""

from collections import OrderedDict
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Attention and MLP, each after a layer norm and added to its input."""

    def __init__(self, width: int, hidden: int, heads: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        layers = OrderedDict(c_fc=nn.Linear(width, hidden), gelu=activation(), c_proj=nn.Linear(hidden, width))
        self.mlp = nn.Sequential(layers)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map tokens `(B, L, D)` to the same shape; `mask` `(L, L)` is added to the scores."""
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))

    def values(self, x: Tensor) -> Tensor:
        """The block with its attention replaced by the value path."""
        normed = self.ln_1(x)
        width = x.shape[-1]
        value = F.linear(normed, self.attn.in_proj_weight[-width:], self.attn.in_proj_bias[-width:])
        x = x + self.attn.out_proj(value)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks one after the other."""

    def __init__(self, width: int, hidden: int, heads: int, layers: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([Block(width, hidden, heads, activation) for _ in range(layers)])


class PlainImageEncoder(nn.Module):
    """Normalised images to the dense features of every patch."""

    def __init__(
        self,
        width: int,
        hidden: int,
        heads: int,
        layers: int,
        patch: int,
        positions: int,
        dim: int,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(positions, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, hidden, heads, layers, activation)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.zeros(width, dim))

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, 3, H * patch, W * patch)` to dense features `(B, C, H, W)`."""
        x = self.conv1(images)
        height, width = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat((self.class_embedding.expand(len(x), 1, -1), x), dim=1)
        x = self.ln_pre(x + self._positions(height, width))
        *blocks, last = cast(list[Block], list(self.transformer.resblocks))
        for block in blocks:
            x = block(x)
        x = self.ln_post(last.values(x)) @ self.proj
        return x[:, 1:].transpose(1, 2).reshape(len(x), -1, height, width)

    def _positions(self, height: int, width: int) -> Tensor:
        side = int((len(self.positional_embedding) - 1) ** 0.5)
        if (side, side) == (height, width):
            return self.positional_embedding
        grid = self.positional_embedding[1:].view(1, side, side, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
        return torch.cat((self.positional_embedding[:1], grid[0].flatten(1).T))


class PlainTextEncoder(nn.Module):
    """Padded token ids to one feature each, as CLIP's own text encoder computes it: every position of every prompt."""

    def __init__(
        self,
        width: int,
        hidden: int,
        heads: int,
        layers: int,
        context: int,
        words: int,
        dim: int,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(words, width)
        self.positional_embedding = nn.Parameter(torch.zeros(context, width))
        self.transformer = Transformer(width, hidden, heads, layers, activation)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map token ids `(B, context)` to L2-normalised features `(B, C)`, read at the highest id: the text's end."""
        x = self.token_embedding(tokens) + self.positional_embedding
        mask = torch.full((tokens.shape[1], tokens.shape[1]), float("-inf")).triu(1)
        for block in self.transformer.resblocks:
            x = block(x, mask)
        x = self.ln_final(x)
        return F.normalize(x[torch.arange(len(x)), tokens.argmax(dim=1)] @ self.text_projection, dim=-1)
