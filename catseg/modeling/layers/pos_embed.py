"""Resizing of learned position tables."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_position_embedding(table: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Resize the position embedding of a ViT with a class token bicubically to another grid.

    Args:
        table: `(1 + h * w, C)`, the class token's position first; `h, w` is `old_grid`.
        old_grid: rows and columns the table was made for.
        new_grid: rows and columns wanted.

    Returns:
        `(1 + H * W, C)`. The class token's position is kept; with equal grids, `table` itself.
    """
    if old_grid == new_grid:
        return table
    return _resized(table, old_grid, size=new_grid)


def resize_position_embedding_by_factors(table: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Resize a position embedding as the published code of CLIP without training does, after that of DINO.

    It resizes by the factors (side + 0.1) / old side, which are used as they are, so that the result is not that of
    resizing to the size; and a grid of as many patches gets the table unchanged, whatever its shape.
    Arguments and result are those of `resize_position_embedding`.
    """
    if math.prod(old_grid) == math.prod(new_grid):
        return table
    factors = tuple((new + 0.1) / old for new, old in zip(new_grid, old_grid, strict=True))
    return _resized(table, old_grid, scale_factor=factors, recompute_scale_factor=False)


def _resized(table: Tensor, old_grid: tuple[int, int], **how: Any) -> Tensor:
    """The table with its grid interpolated bicubically; `how` are arguments of `F.interpolate`."""
    grid = table[1:].T.unflatten(1, old_grid).unsqueeze(0).float()
    grid = F.interpolate(grid, mode="bicubic", align_corners=False, **how).to(table.dtype)
    return torch.cat((table[:1], grid[0].flatten(1).T))
