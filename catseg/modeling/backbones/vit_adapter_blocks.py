"""The parts that ViT-Adapter (arXiv 2205.08534) adds to a plain ViT, and the ViT's attention in windows.

Shapes: B images, C channels, h x w ViT tokens (stride 16); N cells of the pyramid, the grids of strides 8, 16 and 32
one after another, row by row.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from timm.models.vision_transformer import Attention, Block
from torch import Tensor, nn

from catseg.modeling.layers.convolutions import depthwise_conv
from catseg.modeling.layers.deformable_attention import DeformableAttention, cell_centres
from catseg.modeling.layers.windows import join_windows, split_windows

EPSILON = 1e-6  # of all layer norms
PYRAMID_LEVELS = 3
layer_norm = partial(nn.LayerNorm, eps=EPSILON)


class Layout(NamedTuple):
    """Sizes of the token grid and of the maps."""

    token_grid: tuple[int, int]
    pyramid_grids: tuple[tuple[int, int], ...]
    token_centres: Tensor  # (h w, 2), shares of width and height
    pyramid_centres: Tensor  # (N, 2)

    @classmethod
    def of(cls, token_grid: tuple[int, int], device: torch.device) -> "Layout":
        """The layout of images with `token_grid` tokens: even rows and columns."""
        rows, columns = token_grid
        pyramid_grids = ((2 * rows, 2 * columns), (rows, columns), (rows // 2, columns // 2))
        return cls(token_grid, pyramid_grids, cell_centres([token_grid], device), cell_centres(pyramid_grids, device))

    def split(self, pyramid: Tensor) -> list[Tensor]:
        """Cut `(B, N, C)` into maps `(B, C, rows, columns)`."""
        levels = pyramid.split([rows * columns for rows, columns in self.pyramid_grids], dim=1)
        return [
            level.transpose(1, 2).unflatten(2, grid) for level, grid in zip(levels, self.pyramid_grids, strict=True)
        ]


def join_levels(maps: Sequence[Tensor]) -> Tensor:
    """Invert `Layout.split`: maps `(B, C, rows, columns)` to `(B, N, C)`."""
    return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)


class WindowAttention(Attention):
    """timm's attention for maps `(B, h, w, C)`, within windows of `window` x `window` tokens if `window` is not 0.

    Windows that jut out are filled with zero queries, keys and values, which take part unmasked.
    """

    window = 0

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Attend; the other arguments are part of timm's interface and not used."""
        grid = x.shape[1:3]
        if not self.window:
            return super().forward(x.flatten(1, 2)).unflatten(1, grid)
        padded = F.pad(self.qkv(x), (0, 0, 0, -grid[1] % self.window, 0, -grid[0] % self.window))
        query, key, value = (split_windows(part, self.window, self.num_heads) for part in padded.chunk(3, dim=-1))
        out = F.scaled_dot_product_attention(query, key, value)
        joined = join_windows(out, self.window, self.num_heads, (padded.shape[1], padded.shape[2]))
        return self.proj(joined[:, : grid[0], : grid[1]])


class ViTBlock(Block):
    """timm's transformer block with layer scale, for maps `(B, h, w, C)`."""

    def __init__(self, *, dim: int, heads: int, mlp_ratio: float, window: int, drop_path: float) -> None:
        super().__init__(
            dim,
            num_heads=heads,
            mlp_ratio=mlp_ratio,
            qkv_bias=True,
            init_values=1.0,
            drop_path=drop_path,
            norm_layer=layer_norm,
            attn_layer=WindowAttention,
        )
        self.attn.window = window


def _conv_norm_relu(in_channels: int, channels: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


class SpatialPrior(nn.Module):
    """Spatial prior module (section 3.3): convolutions that give maps at strides 4 (if `finest`), 8, 16 and 32."""

    def __init__(self, *, width: int, dim: int, finest: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_conv_norm_relu(3, width, stride=2),
            *_conv_norm_relu(width, width),
            *_conv_norm_relu(width, width),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.conv2 = nn.Sequential(*_conv_norm_relu(width, 2 * width, stride=2))
        self.conv3 = nn.Sequential(*_conv_norm_relu(2 * width, 4 * width, stride=2))
        self.conv4 = nn.Sequential(*_conv_norm_relu(4 * width, 4 * width, stride=2))
        self.fc1 = nn.Conv2d(width, dim, 1) if finest else None
        self.fc2 = nn.Conv2d(2 * width, dim, 1)
        self.fc3 = nn.Conv2d(4 * width, dim, 1)
        self.fc4 = nn.Conv2d(4 * width, dim, 1)

    def forward(self, images: Tensor) -> tuple[Tensor | None, list[Tensor]]:
        """Maps `(B, C, rows, columns)`: that of stride 4, and those of strides 8, 16 and 32."""
        c1 = self.stem(images)
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        return self.fc1(c1) if self.fc1 is not None else None, [self.fc2(c2), self.fc3(c3), self.fc4(c4)]


class ConvFFN(nn.Module):
    """MLP for the pyramid with a depthwise convolution, the same on all levels, between its two layers."""

    def __init__(self, *, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = depthwise_conv(hidden, 3)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, pyramid: Tensor, layout: Layout) -> Tensor:
        """Maps the pyramid `(B, N, C)` to the same shape."""
        mixed = join_levels([self.dwconv(x) for x in layout.split(self.fc1(pyramid))])
        return self.fc2(self.act(mixed))


class Injector(nn.Module):
    """Adds to the ViT's tokens what they read in the pyramid, scaled by `gamma`, which starts at 0 (equation 1)."""

    def __init__(self, *, dim: int, attn: DeformableAttention) -> None:
        super().__init__()
        self.query_norm = layer_norm(dim)
        self.feat_norm = layer_norm(dim)
        self.attn = attn
        self.gamma = nn.Parameter(torch.zeros(dim))

    def forward(self, tokens: Tensor, pyramid: Tensor, layout: Layout) -> Tensor:
        """Tokens `(B, h, w, C)`, given those and the pyramid `(B, N, C)`."""
        query = self.query_norm(tokens).flatten(1, 2)
        read = self.attn(query, layout.token_centres, self.feat_norm(pyramid), layout.pyramid_grids)
        return tokens + self.gamma * read.view_as(tokens)


class Extractor(nn.Module):
    """Adds to the pyramid what it reads in the ViT's tokens, then the output of an MLP, if any (equations 2 and 3)."""

    def __init__(self, *, dim: int, attn: DeformableAttention, ffn: ConvFFN | None, drop_path: float) -> None:
        super().__init__()
        self.query_norm = layer_norm(dim)
        self.feat_norm = layer_norm(dim)
        self.attn = attn
        self.ffn = ffn
        self.ffn_norm = nn.Identity() if ffn is None else layer_norm(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, pyramid: Tensor, tokens: Tensor, layout: Layout) -> Tensor:
        """The pyramid `(B, N, C)`, given that and tokens `(B, h, w, C)`."""
        values = self.feat_norm(tokens).flatten(1, 2)
        query = self.query_norm(pyramid)
        pyramid = pyramid + self.attn(query, layout.pyramid_centres, values, [layout.token_grid])
        if self.ffn is None:
            return pyramid
        return pyramid + self.drop_path(self.ffn(self.ffn_norm(pyramid), layout))


class Interaction(nn.Module):
    """Injector before and extractors after a run of ViT blocks.

    The backbone calls the parts; this only builds and holds them.
    """

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        points: int,
        value_ratio: float,
        ffn_hidden: int,
        drop_path: float,
        extra_extractors: int,
    ) -> None:
        """Build the parts; `ffn_hidden` is the hidden width of the extractors' MLPs, 0 for none."""
        super().__init__()
        attention = partial(DeformableAttention, dim=dim, heads=heads, points=points, value_ratio=value_ratio)

        def extractor() -> Extractor:
            ffn = ConvFFN(dim=dim, hidden=ffn_hidden) if ffn_hidden else None
            return Extractor(dim=dim, attn=attention(levels=1), ffn=ffn, drop_path=drop_path)

        self.injector = Injector(dim=dim, attn=attention(levels=PYRAMID_LEVELS))
        self.extractor = extractor()
        self.extra_extractors = nn.ModuleList([extractor() for _ in range(extra_extractors)])
