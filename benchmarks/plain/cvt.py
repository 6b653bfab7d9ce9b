"""CvT (arXiv 2103.15808) transcribed step by step, without a thought for speed; parameter names as in `catseg`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Projection(nn.Module):
    """A depthwise convolution and a batch norm on the map, flattened to tokens."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, stride, padding=1, groups=dim, bias=False)
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, C, H, W)`."""
        x = self.bn(self.conv(x))
        batch, channels, height, width = x.shape
        return x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)


class Attention(nn.Module):
    """Attention between convolved tokens, by an explicit softmax; the scale is that of the whole width."""

    def __init__(self, dim: int, num_heads: int, has_class_token: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = dim**-0.5
        self.has_class_token = has_class_token
        self.conv_proj_q = Projection(dim, 1)
        self.conv_proj_k = Projection(dim, 2)
        self.conv_proj_v = Projection(dim, 2)
        self.proj_q = nn.Linear(dim, dim)
        self.proj_k = nn.Linear(dim, dim)
        self.proj_v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def project(self, x: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Convolve the map's tokens; the class token is set aside and put back."""
        class_token = x[:, :1]
        if self.has_class_token:
            x = x[:, 1:]
        batch, _, channels = x.shape
        x = x.permute(0, 2, 1).reshape(batch, channels, height, width)
        query, key, value = self.conv_proj_q(x), self.conv_proj_k(x), self.conv_proj_v(x)
        if self.has_class_token:
            query = torch.cat((class_token, query), dim=1)
            key = torch.cat((class_token, key), dim=1)
            value = torch.cat((class_token, value), dim=1)
        return query, key, value

    def split_heads(self, x: Tensor) -> Tensor:
        """`(B, L, C)` to `(B, heads, L, C / heads)`."""
        batch, length, channels = x.shape
        return x.reshape(batch, length, self.num_heads, channels // self.num_heads).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Compute on tokens `(B, L, C)` of a map of `height` x `width`."""
        query, key, value = self.project(x, height, width)
        query = self.split_heads(self.proj_q(query))
        key = self.split_heads(self.proj_k(key))
        value = self.split_heads(self.proj_v(value))
        score = torch.einsum("bhlk,bhtk->bhlt", query, key) * self.scale
        attention = torch.softmax(score, dim=-1)
        x = torch.einsum("bhlt,bhtv->bhlv", attention, value)
        batch, _, length, _ = x.shape
        return self.proj(x.permute(0, 2, 1, 3).reshape(batch, length, -1))


class MLP(nn.Module):
    """Two linear layers with x * sigmoid(1.702 x) between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, L, C)`."""
        x = self.fc1(x)
        x = x * torch.sigmoid(1.702 * x)
        return self.fc2(x)


class Block(nn.Module):
    """Attention and MLP, each added to its input."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, has_class_token: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-5)
        self.attn = Attention(dim, num_heads, has_class_token)
        self.norm2 = nn.LayerNorm(dim, eps=1e-5)
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Compute on tokens `(B, L, C)` of a map of `height` x `width`."""
        x = x + self.attn(self.norm1(x), height, width)
        return x + self.mlp(self.norm2(x))


class Embedding(nn.Module):
    """A strided convolution and a norm over the channels of flattened tokens."""

    def __init__(self, in_channels: int, dim: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, C, H, W)`."""
        x = self.proj(x)
        batch, channels, height, width = x.shape
        x = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        x = self.norm(x)
        return x.permute(0, 2, 1).reshape(batch, channels, height, width)


class Stage(nn.Module):
    """Embedding and blocks, with a class token in the last stage."""

    def __init__(self, embedding: Embedding, blocks: list[Block], dim: int, has_class_token: bool) -> None:
        super().__init__()
        self.patch_embed = embedding
        self.blocks = nn.ModuleList(blocks)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if has_class_token else None

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, C, H, W)`."""
        x = self.patch_embed(x)
        batch, channels, height, width = x.shape
        x = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        if self.cls_token is not None:
            x = torch.cat((self.cls_token.expand(batch, -1, -1), x), dim=1)
        for block in self.blocks:
            x = block(x, height, width)
        if self.cls_token is not None:
            x = x[:, 1:]
        return x.permute(0, 2, 1).reshape(batch, channels, height, width)


class PlainCvT(nn.Module):
    """Images `(B, 3, H, W)` to the map of every stage, `res2` first."""

    def __init__(
        self, embed_dims: Sequence[int], num_heads: Sequence[int], depths: Sequence[int], mlp_ratio: float = 4.0
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        in_channels = 3
        for i, dim in enumerate(embed_dims):
            has_class_token = i == len(embed_dims) - 1
            embedding = Embedding(in_channels, dim, 7, 4, 2) if i == 0 else Embedding(in_channels, dim, 3, 2, 1)
            blocks = [Block(dim, num_heads[i], mlp_ratio, has_class_token) for _ in range(depths[i])]
            self.stages.append(Stage(embedding, blocks, dim, has_class_token))
            in_channels = dim

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the maps."""
        maps = {}
        for i, stage in enumerate(self.stages):
            x = stage(x)
            maps[f"res{i + 2}"] = x
        return maps
