"""ViT-Adapter (arXiv 2205.08534) transcribed step by step, without a thought for speed; parameter names as in `catseg`.

Of the options only what tells the published segmentation models apart.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain.mlp import MLP

Grid = tuple[int, int]
LEVELS, POINTS, WIDTH, HIDDEN_RATIO = 3, 4, 64, 0.25


def reference_points(grids: Sequence[Grid], device: torch.device) -> Tensor:
    """Cell centres `(1, Q, 1, 2)` as shares of the width and height."""
    points = []
    for rows, columns in grids:
        y, x = torch.meshgrid(
            torch.linspace(0.5, rows - 0.5, rows, device=device),
            torch.linspace(0.5, columns - 0.5, columns, device=device),
            indexing="ij",
        )
        points.append(torch.stack((x.reshape(-1) / columns, y.reshape(-1) / rows), dim=-1))
    return torch.cat(points)[None, :, None]


class DeformableAttention(nn.Module):
    """Samples every level at a few points around the query, and weighs the samples."""

    def __init__(self, dim: int, heads: int, levels: int, value_ratio: float) -> None:
        super().__init__()
        width = int(dim * value_ratio)
        self.heads, self.levels = heads, levels
        self.sampling_offsets = nn.Linear(dim, heads * levels * POINTS * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * POINTS)
        self.value_proj = nn.Linear(dim, width)
        self.output_proj = nn.Linear(width, dim)

    def forward(self, query: Tensor, reference: Tensor, values: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Attend from `(B, Q, C)` to the values `(B, S, C)`."""
        batch, queries, _ = query.shape
        split = (batch, queries, self.heads, self.levels, POINTS)
        values = self.value_proj(values).view(batch, values.shape[1], self.heads, -1)
        offsets = self.sampling_offsets(query).view(*split, 2)
        weights = self.attention_weights(query).view(batch, queries, self.heads, self.levels * POINTS)
        weights = torch.softmax(weights, dim=-1).view(split)
        sizes = torch.tensor([(columns, rows) for rows, columns in grids], device=query.device)
        locations = reference[:, :, None, :, None] + offsets / sizes[None, None, None, :, None]
        grid = 2 * locations - 1
        sampled = []
        for i, level in enumerate(values.split([rows * columns for rows, columns in grids], dim=1)):
            level = level.flatten(2).transpose(1, 2).reshape(batch * self.heads, -1, *grids[i])
            level_grid = grid[:, :, :, i].transpose(1, 2).flatten(0, 1)
            sampled.append(F.grid_sample(level, level_grid, mode="bilinear", padding_mode="zeros", align_corners=False))
        weights = weights.transpose(1, 2).reshape(batch * self.heads, 1, queries, self.levels * POINTS)
        output = (torch.stack(sampled, dim=-2).flatten(-2) * weights).sum(-1)
        return self.output_proj(output.view(batch, -1, queries).transpose(1, 2).contiguous())


class Attention(nn.Module):
    """Attention of every token to every token."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, N, C)`."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        attention = (query @ key.transpose(-2, -1)) * (dim // self.heads) ** -0.5
        attention = attention.softmax(dim=-1)
        return self.proj((attention @ value).transpose(1, 2).reshape(batch, tokens, dim))


class Scale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, N, C)`."""
        return self.gamma * x


class Block(nn.Module):
    """Attention and MLP, each normed before, scaled after, and added to its input."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.ls1 = Scale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLP(dim, 4 * dim)
        self.ls2 = Scale(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Compute on `(B, N, C)`."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class ConvFFN(nn.Module):
    """MLP with a depthwise convolution on each level of the pyramid."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Compute on the pyramid `(B, S, C)`."""
        x = self.fc1(x)
        levels = []
        for level, (rows, columns) in zip(
            x.split([rows * columns for rows, columns in grids], dim=1), grids, strict=True
        ):
            level = level.transpose(1, 2).reshape(x.shape[0], -1, rows, columns).contiguous()
            levels.append(self.dwconv(level).flatten(2).transpose(1, 2))
        return self.fc2(self.act(torch.cat(levels, dim=1)))


class Injector(nn.Module):
    """From the pyramid into the tokens."""

    def __init__(self, dim: int, heads: int, value_ratio: float) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(dim, eps=1e-6)
        self.feat_norm = nn.LayerNorm(dim, eps=1e-6)
        self.attn = DeformableAttention(dim, heads, LEVELS, value_ratio)
        self.gamma = nn.Parameter(torch.zeros(dim))

    def forward(self, query: Tensor, reference: Tensor, values: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Tokens `(B, N, C)` from tokens and the pyramid."""
        return query + self.gamma * self.attn(self.query_norm(query), reference, self.feat_norm(values), grids)


class Extractor(nn.Module):
    """From the tokens into the pyramid."""

    def __init__(self, dim: int, heads: int, value_ratio: float) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(dim, eps=1e-6)
        self.feat_norm = nn.LayerNorm(dim, eps=1e-6)
        self.attn = DeformableAttention(dim, heads, 1, value_ratio)
        self.ffn = ConvFFN(dim, int(dim * HIDDEN_RATIO))
        self.ffn_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, query: Tensor, reference: Tensor, values: Tensor, grids: list[Grid], own: list[Grid]) -> Tensor:
        """The pyramid `(B, S, C)` from itself and tokens."""
        query = query + self.attn(self.query_norm(query), reference, self.feat_norm(values), grids)
        return query + self.ffn(self.ffn_norm(query), own)


class Interaction(nn.Module):
    """An injector and its extractors."""

    def __init__(self, dim: int, heads: int, value_ratio: float, extra_extractors: int) -> None:
        super().__init__()
        self.injector = Injector(dim, heads, value_ratio)
        self.extractor = Extractor(dim, heads, value_ratio)
        self.extra_extractors = nn.ModuleList([Extractor(dim, heads, value_ratio) for _ in range(extra_extractors)])


def conv_norm_relu(in_channels: int, channels: int, stride: int) -> list[nn.Module]:
    """A 3x3 convolution, batch norm and ReLU."""
    return [nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]


class SpatialPrior(nn.Module):
    """The convolutional branch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        width = WIDTH
        self.stem = nn.Sequential(
            *conv_norm_relu(3, width, 2), *conv_norm_relu(width, width, 1), *conv_norm_relu(width, width, 1),
            nn.MaxPool2d(3, 2, 1),
        )  # fmt: skip
        self.conv2 = nn.Sequential(*conv_norm_relu(width, 2 * width, 2))
        self.conv3 = nn.Sequential(*conv_norm_relu(2 * width, 4 * width, 2))
        self.conv4 = nn.Sequential(*conv_norm_relu(4 * width, 4 * width, 2))
        self.fc1 = nn.Conv2d(width, dim, 1)
        self.fc2 = nn.Conv2d(2 * width, dim, 1)
        self.fc3 = nn.Conv2d(4 * width, dim, 1)
        self.fc4 = nn.Conv2d(4 * width, dim, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The map of stride 4, and the others as tokens."""
        c1 = self.stem(x)
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        return [self.fc1(c1), *(fc(c).flatten(2).transpose(1, 2) for fc, c in
                                ((self.fc2, c2), (self.fc3, c3), (self.fc4, c4)))]  # fmt: skip


class PatchEmbed(nn.Module):
    """Patches of 16 x 16 pixels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(B, N, C)`."""
        return self.proj(x).flatten(2).transpose(1, 2)


class PlainViTAdapter(nn.Module):
    """Images `(B, 3, H, W)` to the maps `res2` to `res5`; arguments as those of `catseg`'s `ViTAdapter`."""

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        deform_num_heads: int,
        deform_ratio: float = 1.0,
        pretrain_size: int = 224,
        depth: int = 12,
        interaction_indexes: Sequence[Sequence[int]] = ((0, 2), (3, 5), (6, 8), (9, 11)),
    ) -> None:
        super().__init__()
        self.pretrain_side, self.interaction_indexes = pretrain_size // 16, interaction_indexes
        self.patch_embed = PatchEmbed(embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.pretrain_side**2, embed_dim))
        self.level_embed = nn.Parameter(torch.zeros(3, embed_dim))
        self.spm = SpatialPrior(embed_dim)
        self.blocks = nn.ModuleList([Block(embed_dim, num_heads) for _ in range(depth)])
        numbers = [0] * (len(interaction_indexes) - 1) + [2]
        self.interactions = nn.ModuleList(
            [Interaction(embed_dim, deform_num_heads, deform_ratio, number) for number in numbers]
        )
        self.up = nn.ConvTranspose2d(embed_dim, embed_dim, 2, 2)
        for i in range(4):
            self.add_module(f"norm{i + 1}", nn.BatchNorm2d(embed_dim))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the maps, `res2` first."""
        rows, columns = images.shape[2] // 16, images.shape[3] // 16
        token_grid = [(rows, columns)]
        grids = [(2 * rows, 2 * columns), (rows, columns), (rows // 2, columns // 2)]
        token_points, pyramid_points = (reference_points(g, images.device) for g in (token_grid, grids))
        c1, c2, c3, c4 = self.spm(images)
        pyramid = torch.cat([c2 + self.level_embed[0], c3 + self.level_embed[1], c4 + self.level_embed[2]], dim=1)
        table = self.pos_embed[:, 1:].reshape(1, self.pretrain_side, self.pretrain_side, -1).permute(0, 3, 1, 2)
        table = F.interpolate(table, size=(rows, columns), mode="bicubic", align_corners=False)
        tokens = self.patch_embed(images) + table.reshape(1, -1, rows * columns).permute(0, 2, 1)
        features = []
        for interaction, (first, last) in zip(self.interactions, self.interaction_indexes, strict=True):
            tokens = interaction.injector(tokens, token_points, pyramid, grids)
            for block in self.blocks[first : last + 1]:
                tokens = block(tokens)
            pyramid = interaction.extractor(pyramid, pyramid_points, tokens, token_grid, grids)
            for extractor in interaction.extra_extractors:
                pyramid = extractor(pyramid, pyramid_points, tokens, token_grid, grids)
            features.append(tokens.transpose(1, 2).reshape(images.shape[0], -1, rows, columns).contiguous())
        maps = [
            level.transpose(1, 2).reshape(images.shape[0], -1, *grid).contiguous()
            for level, grid in zip(pyramid.split([r * c for r, c in grids], dim=1), grids, strict=True)
        ]
        maps = [self.up(maps[0]) + c1, *maps]
        for i, scale in enumerate((4, 2, 1, 0.5)):
            feature = features[i]
            if scale != 1:
                feature = F.interpolate(feature, scale_factor=scale, mode="bilinear", align_corners=False)
            maps[i] = maps[i] + feature
        norms = (self.norm1, self.norm2, self.norm3, self.norm4)
        return {f"res{i + 2}": norm(x) for i, (norm, x) in enumerate(zip(norms, maps, strict=True))}
