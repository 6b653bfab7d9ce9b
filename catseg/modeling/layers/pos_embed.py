"""Resizing of learned position tables."""

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
    grid = table[1:].T.unflatten(1, old_grid).unsqueeze(0)
    grid = F.interpolate(grid.float(), size=new_grid, mode="bicubic", align_corners=False).to(table.dtype)
    return torch.cat((table[:1], grid[0].flatten(1).T))
