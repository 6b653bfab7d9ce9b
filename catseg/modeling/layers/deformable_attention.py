"""Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159, section 4.1 and appendix A.4) in plain PyTorch.

Shapes: B images, Q queries, L levels of values with H x W cells each, S cells of all levels together, M heads,
P points, C channels, D channels per head.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cell_centres(grids: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """The centres of all cells of some grids, grid by grid and row by row.

    Args:
        grids: rows and columns of each grid.
        device: where the result shall be.

    Returns:
        `(Q, 2)`, float32: x, y of each cell as shares (0 to 1) of its grid's width and height.
    """
    centres = []
    for rows, columns in grids:
        y, x = ((torch.arange(length, device=device) + 0.5) / length for length in (rows, columns))
        centres.append(torch.cartesian_prod(y, x).flip(1))
    return torch.cat(centres)


class DeformableAttention(nn.Module):
    """Each query reads every level of the values at a few points near its own place, which it chooses itself."""

    def __init__(self, *, dim: int, heads: int, levels: int, points: int = 4, value_ratio: float = 1.0) -> None:
        """Build the layer; at first each head looks into a direction of its own with equal weights.

        Args:
            dim: channels of queries, values and output.
            heads: attention heads.
            levels: grids that the values lie on.
            points: points that a head reads per level.
            value_ratio: width of the values inside over `dim`.

        Raises:
            ValueError: if `heads` does not divide the width of the values.
        """
        super().__init__()
        width = int(dim * value_ratio)
        if width % heads:
            raise ValueError(f"deformable attention with {heads} heads cannot split {width} channels")
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, width)
        self.output_proj = nn.Linear(width, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the initial weights: point p of head m lies p + 1 cells away from the query, at the angle 2 pi m / M."""
        for layer in (self.sampling_offsets, self.attention_weights, self.value_proj, self.output_proj):
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.xavier_uniform_(self.value_proj.weight)
        nn.init.xavier_uniform_(self.output_proj.weight)
        angles = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        directions = torch.stack((angles.cos(), angles.sin()), dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)  # onto the border of a square
        distances = torch.arange(1, self.points + 1).view(-1, 1)
        offsets = (directions[:, None, None] * distances).expand(-1, self.levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.flatten())

    def forward(self, query: Tensor, centres: Tensor, values: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
        """Attend.

        Args:
            query: `(B, Q, C)`.
            centres: `(Q, 2)`: x, y of the queries as shares (0 to 1) of every level's width and height.
            values: `(B, S, C)`, the cells of the levels one after another, row by row.
            grids: rows and columns of each level.

        Returns:
            `(B, Q, C)`.
        """
        split = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).unflatten(2, (*split, 2)).permute(0, 2, 3, 4, 1, 5)
        weights = self.attention_weights(query).unflatten(2, (self.heads, -1)).softmax(-1).unflatten(3, split[1:])
        weights = weights.permute(0, 2, 3, 4, 1)  # (B, M, L, P, Q): the sum over points then adds whole rows
        maps = self.value_proj(values).unflatten(2, (self.heads, -1)).permute(0, 2, 3, 1)  # (B, M, D, S)
        out = _read_points(maps, grids, 2 * centres - 1, offsets, weights)
        return self.output_proj(out.transpose(1, 2))


def _read_points(
    maps: Tensor, grids: Sequence[tuple[int, int]], origins: Tensor, offsets: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sum of the values at `origins + offsets`, bilinear between cells and 0 outside.

    Positions keep the precision of `origins` under autocast, where bfloat16 could not tell neighbouring cells apart.

    Args:
        maps: `(B, M, D, S)`.
        grids: rows and columns of each level.
        origins: `(Q, 2)` in -1 to 1.
        offsets: `(B, M, L, P, Q, 2)` in cells.
        weights: `(B, M, L, P, Q)`.

    Returns:
        `(B, M * D, Q)`.
    """
    levels = maps.to(origins.dtype).flatten(0, 1).split([rows * columns for rows, columns in grids], dim=2)

    def read(i: int, rows: int, columns: int) -> Tensor:
        cell = origins.new_tensor((2 / columns, 2 / rows))
        points = (origins + offsets[:, :, i] * cell).flatten(0, 1)  # (B M, P, Q, 2)
        samples = F.grid_sample(levels[i].unflatten(2, (rows, columns)), points, align_corners=False)
        return (samples * weights[:, :, i].flatten(0, 1).unsqueeze(1)).sum(dim=2)

    out = reduce(torch.add, (read(i, *grid) for i, grid in enumerate(grids)))
    return out.unflatten(0, maps.shape[:2]).flatten(1, 2).to(maps.dtype)
