"""Windows of a token grid: how Swin-style attention cuts a map, and which tokens may see each other.

Shapes: N maps, H x W tokens, w x w tokens per window, C channels.
"""

import torch
from einops import rearrange
from torch import Tensor


def split_windows(x: Tensor, window: int, heads: int) -> Tensor:
    """Cut a map into windows and its channels into heads: `(N, H, W, C)` to `(N, windows * heads, w * w, C / heads)`.

    Windows stand in the heads' axis, so that an attention mask per window broadcasts over the maps.
    """
    return rearrange(x, "n (i h) (j w) (k c) -> n (i j k) (h w) c", h=window, w=window, k=heads)


def join_windows(x: Tensor, window: int, heads: int, size: tuple[int, int]) -> Tensor:
    """Undo `split_windows`: `(N, windows * heads, w * w, C / heads)` to `(N, H, W, C)` with `(H, W) = size`."""
    rows = size[0] // window
    return rearrange(x, "n (i j k) (h w) c -> n (i h) (j w) (k c)", i=rows, h=window, w=window, k=heads)


def shifted_window_mask(size: tuple[int, int], window: int, shift: int, heads: int, like: Tensor) -> Tensor:
    """The additive mask of shifted-window attention (Swin, arXiv 2103.14030, figure 4).

    After the map is rolled by `shift`, a window at the border holds tokens from opposite sides of the map; those do
    not see each other.

    Args:
        size: rows and columns of the map, multiples of `window`.
        window: side of a window.
        shift: how far the map was rolled, in tokens.
        heads: attention heads, which all get the same mask.
        like: gives the dtype and device.

    Returns:
        `(1, windows * heads, w * w, w * w)` with 0 where tokens see each other and -100 where they do not.
    """
    rows, columns = (_regions(length, window, shift, like.device) for length in size)
    region = 3 * rows[:, None] + columns
    labels = split_windows(region[None, :, :, None], window, 1)[..., 0]
    apart = labels.unsqueeze(-1) != labels.unsqueeze(-2)
    return torch.where(apart, -100.0, 0.0).to(like.dtype).repeat_interleave(heads, dim=1)


def _regions(length: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Number the stretches of a rolled axis that are contiguous on the map: `(length,)` with values 0, 1, 2."""
    borders = torch.tensor([length - window, length - shift], device=device)
    return torch.bucketize(torch.arange(length, device=device), borders, right=True)
