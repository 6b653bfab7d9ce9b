"""Windows of a token grid: partition, its inverse, and which tokens attend to each other with shifted windows.

Shapes: N maps, H x W tokens, w x w tokens per window, C channels.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor


def split_windows(x: Tensor, window: int, heads: int) -> Tensor:
    """Cut a map into windows and its channels into heads: `(N, H, W, C)` to `(N, windows * heads, w * w, C / heads)`.

    Windows and heads share an axis, so that an attention mask per window broadcasts over the maps.
    """
    return rearrange(x, "n (i h) (j w) (k c) -> n (i j k) (h w) c", h=window, w=window, k=heads)


def join_windows(x: Tensor, window: int, heads: int, size: tuple[int, int]) -> Tensor:
    """Invert `split_windows`: `(N, windows * heads, w * w, C / heads)` to `(N, H, W, C)` with `(H, W) = size`."""
    rows = size[0] // window
    return rearrange(x, "n (i j k) (h w) c -> n (i h) (j w) (k c)", i=rows, h=window, w=window, k=heads)


@dataclass(frozen=True)
class Regions:
    """A permutation of a map's tokens that makes those that attend to each other neighbours.

    Attributes:
        order: places in the flattened map, int64 `(H * W,)`, region by region.
        groups: number and length of consecutive regions of equal length.
    """

    order: Tensor
    groups: tuple[tuple[int, int], ...]

    def numbers(self) -> Tensor:
        """Return the index of each token's region, in the map's own order: int64 `(H * W,)`."""
        device = self.order.device
        lengths = torch.tensor([length for count, length in self.groups for _ in range(count)], device=device)
        numbers = torch.arange(len(lengths), device=device).repeat_interleave(lengths, output_size=len(self.order))
        return torch.empty_like(self.order).scatter(0, self.order, numbers)

    def after(self, earlier: "Regions") -> Tensor:
        """Return the indices that bring tokens from the order of `earlier` to this one: int64 `(H * W,)`."""
        return earlier.order.argsort()[self.order]


def attention_regions(size: tuple[int, int], window: int, shift: int, device: torch.device) -> Regions:
    """Group the tokens that attend to each other in shifted-window attention (Swin, arXiv 2103.14030, figure 4).

    Once the map is rolled by `shift`, a window at the border holds tokens from opposite sides of the map, which must
    not attend to each other. Splitting these windows into regions replaces both the roll and the mask.

    Args:
        size: rows and columns of the map, multiples of `window`.
        window: side of a window.
        shift: how far the map is rolled, in tokens, less than `window`.
        device: of the result.
    """
    rows, columns = ([0, *range(shift or window, length, window), length] for length in size)
    grid = torch.arange(size[0] * size[1], device=device).view(size)
    by_length = defaultdict(list)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            places = grid[top:bottom, left:right].flatten()
            by_length[len(places)].append(places)
    order = torch.cat([places for regions in by_length.values() for places in regions])
    return Regions(order, tuple((len(regions), length) for length, regions in by_length.items()))


def shifted_window_mask(size: tuple[int, int], window: int, shift: int, like: Tensor) -> Tensor:
    """Make the additive attention mask for the windows of a rolled map; see `attention_regions`.

    Args:
        size: rows and columns of the map, multiples of `window`.
        window: side of a window.
        shift: how far the map was rolled, in tokens, less than `window`.
        like: gives the dtype and device.

    Returns:
        `(windows, w * w, w * w)` with 0 where tokens attend to each other and -100 where they must not.
    """
    numbers = attention_regions(size, window, shift, like.device).numbers().view(1, *size, 1)
    numbers = split_windows(numbers.roll((-shift, -shift), (1, 2)), window, 1)[0, ..., 0]
    return torch.where(numbers.unsqueeze(-1) != numbers.unsqueeze(-2), -100.0, 0.0).to(like.dtype)
