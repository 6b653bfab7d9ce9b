"""Apply a function to a tensor piece by piece, so that its temporaries stay small."""

from collections.abc import Callable

import torch
from torch import Tensor


def map_chunks(
    function: Callable[[Tensor], Tensor], x: Tensor, *, dim: int, size: int, in_place: bool = False
) -> Tensor:
    """`function(x)`, computed on pieces of `size` along `dim`.

    Args:
        function: maps a piece to a tensor with the same length along `dim`, without looking at other pieces.
        x: any tensor.
        dim: the axis to cut, counted from the front.
        size: length of a piece, at least 1.
        in_place: write the results over `x` where no gradient is recorded; `function` must then keep the shape.

    Returns:
        The results of all pieces side by side along `dim`.
    """
    if torch.is_grad_enabled():
        return torch.cat([function(piece) for piece in x.split(size, dim=dim)], dim=dim)
    if x.shape[dim] <= size and not in_place:
        return function(x)
    out = x if in_place else None
    for start in range(0, x.shape[dim], size):
        piece = x.narrow(dim, start, min(size, x.shape[dim] - start))
        result = function(piece)
        if out is None:
            shape = list(result.shape)
            shape[dim] = x.shape[dim]
            out = result.new_empty(shape)
        out.narrow(dim, start, piece.shape[dim]).copy_(result)
    return x if out is None else out
