"""Swin (arXiv 2103.14030) transcribed step by step, without a thought for speed; parameter names as in `catseg`."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain.mlp import MLP


def partition(x: Tensor, window: int) -> Tensor:
    """Cut `(B, H, W, C)` into windows `(B * windows, window * window, C)`."""
    batch, height, width, dim = x.shape
    x = x.view(batch, height // window, window, width // window, window, dim)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window * window, dim)


def reverse(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Join windows to `(B, H, W, C)`."""
    x = windows.view(-1, height // window, width // window, window, window, windows.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, height, width, windows.shape[-1])


def shift_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Return the attention mask of each window, `(windows, tokens, tokens)`: -100 between different regions."""
    regions = torch.zeros(1, height, width, 1)
    slices = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    count = 0
    for rows in slices:
        for columns in slices:
            regions[:, rows, columns] = count
            count += 1
    windows = partition(regions, window).squeeze(-1)
    different = windows.unsqueeze(1) - windows.unsqueeze(2)
    return different.masked_fill(different != 0, -100.0)


class PatchEmbedding(nn.Module):
    """A 4 x 4 convolution of stride 4 and a layer norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 4, 4)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, int, int]:
        """Map images to tokens `(B, H * W, C)` and the sides of their grid."""
        x = F.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4))
        x = self.proj(x)
        height, width = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        return self.norm(x), height, width


class WindowAttention(nn.Module):
    """Attention within windows, with a bias for each relative position."""

    def __init__(self, dim: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        axis = torch.arange(window)
        places = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)
        offsets = (places[:, :, None] - places[:, None, :]) + window - 1
        self.register_buffer("index", offsets[0] * (2 * window - 1) + offsets[1], persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map windows `(B * windows, tokens, C)` to the same shape."""
        count, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(count, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.index.view(-1)].view(tokens, tokens, -1)
        scores = scores + bias.permute(2, 0, 1).contiguous().unsqueeze(0)
        if mask is not None:
            windows = len(mask)
            scores = scores.view(count // windows, windows, self.heads, tokens, tokens) + mask[None, :, None]
            scores = scores.view(-1, self.heads, tokens, tokens)
        x = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(count, tokens, dim)
        return self.proj(x)


class Block(nn.Module):
    """Window attention and MLP, each after a layer norm and added to its input."""

    def __init__(self, dim: int, heads: int, window: int, shift: int, mlp_ratio: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Map tokens `(B, H * W, C)` to the same shape."""
        shortcut = x
        x = self.norm1(x).view(len(x), height, width, -1)
        x = F.pad(x, (0, 0, 0, -width % self.window, 0, -height % self.window))
        padded_height, padded_width = x.shape[1:3]
        mask = None
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
            mask = shift_mask(padded_height, padded_width, self.window, self.shift)
        windows = self.attn(partition(x, self.window), mask)
        x = reverse(windows, self.window, padded_height, padded_width)
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), (1, 2))
        x = x[:, :height, :width].contiguous().view(len(x), height * width, -1)
        x = shortcut + x
        return x + self.mlp(self.norm2(x))


class Merging(nn.Module):
    """Four neighbours become one token of twice the width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Map tokens `(B, H * W, C)` to `(B, H / 2 * W / 2, 2 C)`, rounding up."""
        x = x.view(len(x), height, width, -1)
        x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
        x = x.view(len(x), -1, x.shape[-1])
        return self.reduction(self.norm(x))


class Stage(nn.Module):
    """Blocks at one resolution, every second one shifted, and the merging to the next."""

    def __init__(self, dim: int, depth: int, heads: int, window: int, mlp_ratio: float, last: bool) -> None:
        super().__init__()
        shifts = [window // 2 if i % 2 else 0 for i in range(depth)]
        self.blocks = nn.ModuleList([Block(dim, heads, window, shift, mlp_ratio) for shift in shifts])
        self.downsample = None if last else Merging(dim)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Map tokens `(B, H * W, C)` to the same shape; merging is left to the caller."""
        for block in self.blocks:
            x = block(x, height, width)
        return x


class PlainSwin(nn.Module):
    """Images `(B, 3, H, W)` to the map of every stage, `res2` first."""

    def __init__(
        self,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: int,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(embed_dim)
        self.layers = nn.ModuleList()
        for i, depth in enumerate(depths):
            dim, last = embed_dim * 2**i, i == len(depths) - 1
            self.layers.append(Stage(dim, depth, num_heads[i], window_size, mlp_ratio, last))
            self.add_module(f"norm{i}", nn.LayerNorm(dim))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute all maps."""
        x, height, width = self.patch_embed(x)
        maps = {}
        for i, stage in enumerate(self.layers):
            x = stage(x, height, width)
            normed = self.get_submodule(f"norm{i}")(x).view(len(x), height, width, -1)
            maps[f"res{i + 2}"] = normed.permute(0, 3, 1, 2).contiguous()
            if stage.downsample is not None:
                x = stage.downsample(x, height, width)
                height, width = (height + 1) // 2, (width + 1) // 2
        return maps
