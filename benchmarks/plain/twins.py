"""Twins (arXiv 2104.13840) transcribed step by step, without a thought for speed; parameter names as in `catseg`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.plain.mlp import MLP


class WindowAttention(nn.Module):
    """Attention within windows of a padded map; padding is hidden if both sides of the map need some."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Compute on the tokens `(B, H * W, C)` of a map of `height` and `width`."""
        batch, count, dim = x.shape
        window, heads = self.window, self.heads
        bottom, right = (window - height % window) % window, (window - width % window) % window
        x = F.pad(x.view(batch, height, width, dim), (0, 0, 0, right, 0, bottom))
        rows, columns = (height + bottom) // window, (width + right) // window
        x = x.reshape(batch, rows, window, columns, window, dim).transpose(2, 3)
        qkv = self.qkv(x).reshape(batch, rows * columns, window * window, 3, heads, dim // heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
        scores = (q @ k.transpose(-2, -1)) * (dim // heads) ** -0.5
        scores = scores + self.mask(height, width, bottom, right, x).unsqueeze(2)
        x = (scores.softmax(dim=-1) @ v).transpose(2, 3)
        x = x.reshape(batch, rows, columns, window, window, dim).transpose(2, 3)
        x = x.reshape(batch, rows * window, columns * window, dim)[:, :height, :width].contiguous()
        return self.proj(x.view(batch, count, dim))

    def mask(self, height: int, width: int, bottom: int, right: int, like: Tensor) -> Tensor:
        """What is added to the scores: `(1, windows, tokens, tokens)`."""
        padded = torch.zeros(1, height + bottom, width + right, device=like.device)
        if bottom > 0 and right > 0:
            padded[:, height:, :] = 1
            padded[:, :, width:] = 1
        rows, columns = padded.shape[1] // self.window, padded.shape[2] // self.window
        padded = padded.reshape(1, rows, self.window, columns, self.window).transpose(2, 3)
        padded = padded.reshape(1, rows * columns, self.window * self.window)
        difference = padded.unsqueeze(2) - padded.unsqueeze(3)
        return torch.zeros_like(difference).masked_fill(difference != 0, -1000.0)


class GlobalAttention(nn.Module):
    """Attention of all tokens to those of a subsampled map."""

    def __init__(self, dim: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.ratio = ratio
        if ratio > 1:
            self.sr = nn.Conv2d(dim, dim, ratio, ratio)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Compute on the tokens `(B, H * W, C)` of a map of `height` and `width`."""
        batch, count, dim = x.shape
        q = self.q(x).reshape(batch, count, self.heads, dim // self.heads).permute(0, 2, 1, 3)
        keys = x
        if self.ratio > 1:
            keys = keys.permute(0, 2, 1).reshape(batch, dim, height, width)
            keys = self.norm(self.sr(keys).reshape(batch, dim, -1).permute(0, 2, 1))
        k, v = self.kv(keys).reshape(batch, -1, 2, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-2, -1)) * (dim // self.heads) ** -0.5
        x = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, count, dim)
        return self.proj(x)


class Block(nn.Module):
    """Attention and MLP, each after a norm and added to its input."""

    def __init__(self, dim: int, attention: nn.Module, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Compute on the tokens `(B, H * W, C)` of a map of `height` and `width`."""
        x = x + self.attn(self.norm1(x), height, width)
        return x + self.mlp(self.norm2(x))


class PatchEmbedding(nn.Module):
    """Patches to tokens, with a norm."""

    def __init__(self, in_channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, patch, patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to tokens."""
        return self.norm(self.proj(x).flatten(2).transpose(1, 2))


class Position(nn.Module):
    """A depthwise convolution on the map of the tokens, plus the tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, groups=dim))

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Compute on the tokens `(B, H * W, C)` of a map of `height` and `width`."""
        batch, _, dim = x.shape
        maps = x.transpose(1, 2).view(batch, dim, height, width)
        return (self.proj(maps) + maps).flatten(2).transpose(1, 2)


class Stage(nn.Module):
    """Patch embedding and blocks, with the position convolution after the first block."""

    def __init__(self, patch_embed: nn.Module, blocks: Sequence[nn.Module], dim: int, normed: bool) -> None:
        super().__init__()
        self.patch = patch_embed.proj.kernel_size[0]
        self.patch_embed = patch_embed
        self.blocks = nn.ModuleList(blocks)
        self.pos_block = Position(dim)
        if normed:
            self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the map of this stage."""
        height, width = x.shape[2] // self.patch, x.shape[3] // self.patch
        x = self.patch_embed(x)
        for i, block in enumerate(self.blocks):
            x = block(x, height, width)
            if i == 0:
                x = self.pos_block(x, height, width)
        if hasattr(self, "norm"):
            x = self.norm(x)
        return x.reshape(len(x), height, width, -1).permute(0, 3, 1, 2).contiguous()


class PlainTwins(nn.Module):
    """Images `(B, 3, H, W)` to the map of every stage, `res2` first."""

    def __init__(
        self,
        embed_dims: Sequence[int],
        num_heads: Sequence[int],
        depths: Sequence[int],
        mlp_ratios: Sequence[float],
        sr_ratios: Sequence[int] = (8, 4, 2, 1),
        window_sizes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        in_channels = 3
        for i, dim in enumerate(embed_dims):
            blocks = []
            for j in range(depths[i]):
                if window_sizes is not None and j % 2 == 0:
                    attention: nn.Module = WindowAttention(dim, num_heads[i], window_sizes[i])
                else:
                    attention = GlobalAttention(dim, num_heads[i], sr_ratios[i])
                blocks.append(Block(dim, attention, mlp_ratios[i]))
            patch_embed = PatchEmbedding(in_channels, dim, 4 if i == 0 else 2)
            self.stages.append(Stage(patch_embed, blocks, dim, window_sizes is not None))
            in_channels = dim

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute all maps."""
        maps = {}
        for i, stage in enumerate(self.stages):
            x = stage(x)
            maps[f"res{i + 2}"] = x
        return maps
