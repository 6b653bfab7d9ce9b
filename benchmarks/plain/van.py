"""VAN (arXiv 2202.09741) transcribed step by step, without a thought for speed; parameter names as in `catseg`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class DepthwiseConv(nn.Conv2d):
    """Each channel convolved by itself, at the same size."""

    def __init__(self, dim: int, kernel: int, dilation: int = 1) -> None:
        super().__init__(dim, dim, kernel, padding=kernel // 2 * dilation, dilation=dilation, groups=dim)


class Gate(nn.Module):
    """The large-kernel attention map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv0 = DepthwiseConv(dim, 5)
        self.conv_spatial = DepthwiseConv(dim, 7, dilation=3)
        self.conv1 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, C, H, W)`."""
        shortcut = x.clone()
        attention = self.conv0(x)
        attention = self.conv_spatial(attention)
        attention = self.conv1(attention)
        return shortcut * attention


class Attention(nn.Module):
    """The attention map applied between two projections, plus the input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(dim, dim, 1)
        self.activation = nn.GELU()
        self.spatial_gating_unit = Gate(dim)
        self.proj_2 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, C, H, W)`."""
        shortcut = x.clone()
        x = self.proj_1(x)
        x = self.activation(x)
        x = self.spatial_gating_unit(x)
        x = self.proj_2(x)
        return x + shortcut


class MLP(nn.Module):
    """Two 1x1 convolutions with a depthwise one between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.dwconv = DepthwiseConv(hidden, 3)
        self.activation = nn.GELU()
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, C, H, W)`."""
        x = self.fc1(x)
        x = self.dwconv(x)
        x = self.activation(x)
        return self.fc2(x)


class Block(nn.Module):
    """Attention and MLP, each scaled and added to its input."""

    def __init__(self, dim: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = Attention(dim)
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))
        self.layer_scale_1 = nn.Parameter(1e-2 * torch.ones(dim))
        self.layer_scale_2 = nn.Parameter(1e-2 * torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, C, H, W)`."""
        x = x + self.layer_scale_1.unsqueeze(-1).unsqueeze(-1) * self.attn(self.norm1(x))
        return x + self.layer_scale_2.unsqueeze(-1).unsqueeze(-1) * self.mlp(self.norm2(x))


class Embedding(nn.Module):
    """A strided convolution and a batch norm."""

    def __init__(self, in_channels: int, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel, stride, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, C, H, W)`."""
        return self.norm(self.proj(x))


class Stage(nn.Module):
    """Embedding, blocks, and a norm over the channels of flattened tokens."""

    def __init__(self, in_channels: int, dim: int, depth: int, mlp_ratio: float, kernel: int, stride: int) -> None:
        super().__init__()
        self.patch_embed = Embedding(in_channels, dim, kernel, stride)
        self.blocks = nn.ModuleList([Block(dim, mlp_ratio) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, C, H, W)`."""
        x = self.patch_embed(x)
        for block in self.blocks:
            x = block(x)
        batch, _, height, width = x.shape
        x = x.flatten(2).transpose(1, 2)
        x = self.norm(x)
        return x.reshape(batch, height, width, -1).permute(0, 3, 1, 2).contiguous()


class PlainVAN(nn.Module):
    """Images `(B, 3, H, W)` to the map of every stage, `res2` first."""

    def __init__(
        self, embed_dims: Sequence[int], depths: Sequence[int], mlp_ratios: Sequence[float] = (8, 8, 4, 4)
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        in_channels = 3
        for i, dim in enumerate(embed_dims):
            kernel, stride = (7, 4) if i == 0 else (3, 2)
            self.stages.append(Stage(in_channels, dim, depths[i], mlp_ratios[i], kernel, stride))
            in_channels = dim

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the maps."""
        maps = {}
        for i, stage in enumerate(self.stages):
            x = stage(x)
            maps[f"res{i + 2}"] = x
        return maps
