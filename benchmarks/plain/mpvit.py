"""MPViT (arXiv 2112.11010) transcribed step by step, without a thought for speed; parameter names as in `catseg`."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.plain.mlp import MLP

HEADS = 8
KERNELS = (3, 5, 7)
HEADS_PER_KERNEL = (2, 3, 3)


def conv_norm(in_dim: int, dim: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm."""
    conv = nn.Conv2d(in_dim, dim, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(dim)))


def depthwise(dim: int, kernel: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """Each channel convolved by itself."""
    return nn.Conv2d(dim, dim, kernel, stride, padding=kernel // 2, groups=dim, bias=bias)


def conv_norm_act(in_dim: int, dim: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, Hardswish."""
    layers = conv_norm(in_dim, dim, kernel, stride)
    layers.add_module("act", nn.Hardswish())
    return layers


class Embedding(nn.Module):
    """Depthwise and pointwise convolution, batch norm, Hardswish."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.dwconv = depthwise(dim, 3, stride, bias=False)
        self.pwconv = nn.Conv2d(dim, dim, 1, bias=False)
        self.bn = nn.BatchNorm2d(dim)
        self.act = nn.Hardswish()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same, or to half the sides."""
        x = self.dwconv(x)
        x = self.pwconv(x)
        x = self.bn(x)
        return self.act(x)


class Attention(nn.Module):
    """Attention through a context matrix per head, and positions from convolved values."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, height: int, width: int, relative: nn.ModuleList) -> Tensor:
        """Map tokens `(B, H * W, C)` to the same shape."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, HEADS, dim // HEADS).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = k.softmax(dim=2)
        context = torch.einsum("bhnk,bhnv->bhkv", weights, v)
        attended = torch.einsum("bhnk,bhkv->bhnv", q, context)

        maps = v.transpose(2, 3).reshape(batch, dim, height, width)
        widths = [heads * dim // HEADS for heads in HEADS_PER_KERNEL]
        convolved = [conv(part) for conv, part in zip(relative, maps.split(widths, dim=1), strict=True)]
        around = torch.cat(convolved, dim=1).reshape(batch, HEADS, dim // HEADS, tokens).transpose(2, 3)
        positions = q * around

        x = (dim // HEADS) ** -0.5 * attended + positions
        x = x.transpose(1, 2).reshape(batch, tokens, dim)
        return self.proj(x)


class Layer(nn.Module):
    """Position encoding, attention and MLP on tokens."""

    def __init__(self, dim: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLP(dim, dim * mlp_ratio)

    def forward(self, x: Tensor, height: int, width: int, position: nn.Conv2d, relative: nn.ModuleList) -> Tensor:
        """Map tokens `(B, H * W, C)` to the same shape."""
        batch, _, dim = x.shape
        grid = x.transpose(1, 2).reshape(batch, dim, height, width)
        grid = position(grid) + grid
        x = grid.flatten(2).transpose(1, 2)
        x = x + self.attn(self.norm1(x), height, width, relative)
        return x + self.mlp(self.norm2(x))


class Path(nn.Module):
    """Layers that share their position encodings."""

    def __init__(self, dim: int, depth: int, mlp_ratio: int, stride: int) -> None:
        super().__init__()
        self.embedding = Embedding(dim, stride)
        self.position = depthwise(dim, 3)
        widths = [heads * dim // HEADS for heads in HEADS_PER_KERNEL]
        self.relative = nn.ModuleList([depthwise(width, kernel) for width, kernel in zip(widths, KERNELS, strict=True)])
        self.layers = nn.ModuleList([Layer(dim, mlp_ratio) for _ in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        batch, dim, height, width = x.shape
        x = x.flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, height, width, self.position, self.relative)
        return x.reshape(batch, height, width, dim).permute(0, 3, 1, 2).contiguous()


class Local(nn.Module):
    """The convolutional branch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = conv_norm_act(dim, dim, 1)
        self.dwconv = depthwise(dim, 3, bias=False)
        self.norm = nn.BatchNorm2d(dim)
        self.act = nn.Hardswish()
        self.conv2 = conv_norm(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        identity = x
        x = self.conv1(x)
        x = self.dwconv(x)
        x = self.norm(x)
        x = self.act(x)
        x = self.conv2(x)
        return identity + x


class Stage(nn.Module):
    """A cascade of embeddings, the branches on them, and their merging."""

    def __init__(self, dim: int, out_dim: int, depth: int, paths: int, mlp_ratio: int, stride: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList([Path(dim, depth, mlp_ratio, 1 if i else stride) for i in range(paths)])
        self.local = Local(dim)
        self.aggregate = conv_norm_act((paths + 1) * dim, out_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map a map to the next one."""
        inputs = []
        for path in self.paths:
            x = path.embedding(x)
            inputs.append(x)
        outputs = [self.local(inputs[0])]
        for path, tokens in zip(self.paths, inputs, strict=True):
            outputs.append(path(tokens))
        return self.aggregate(torch.cat(outputs, dim=1))


class PlainMPViT(nn.Module):
    """Images `(B, 3, H, W)` to the map of every stage, `res2` first."""

    def __init__(
        self,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        num_paths: Sequence[int] = (2, 3, 3, 3),
        mlp_ratios: Sequence[int] = (4, 4, 4, 4),
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_norm_act(3, embed_dims[0] // 2, 3, 2), conv_norm_act(embed_dims[0] // 2, embed_dims[0], 3, 2)
        )
        out_dims = [*embed_dims[1:], embed_dims[-1]]
        self.stages = nn.ModuleList()
        for i, dim in enumerate(embed_dims):
            stride = 2 if i else 1
            self.stages.append(Stage(dim, out_dims[i], depths[i], num_paths[i], mlp_ratios[i], stride))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute all maps."""
        x = self.stem(x)
        maps = {}
        for i, stage in enumerate(self.stages):
            x = stage(x)
            maps[f"res{i + 2}"] = x
        return maps
