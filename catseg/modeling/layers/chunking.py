"""Work on a tensor piece by piece, so that temporaries stay small: how much at once, and the loop that does it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from catseg.errors import InputError

MERGED_PIXELS = 2**24  # of all full-size maps that are merged at once, whatever the size of the images


@dataclass(frozen=True)
class ChunkSizes:
    """Amount of work that goes through the network at once; results do not depend on it, time and memory do.

    Attributes:
        crops: crops that CLIP and the backbone encode at once in inference.
        class_maps: class maps that are aggregated, decoded and merged at once. A class map is one crop's map of one
            class, so 4 crops of 150 classes have 600.
    """

    crops: int = 4
    class_maps: int = 4

    def __post_init__(self) -> None:
        if min(self.crops, self.class_maps) < 1:
            raise InputError(
                "TEST.CROPS_PER_CHUNK and TEST.CLASS_MAPS_PER_CHUNK must be positive, or 0 for the defaults, "
                f"got {self.crops} and {self.class_maps}"
            )

    def merged_classes(self, pixels: int) -> int:
        """Return how many classes of one image to merge at once, at least 1, if each has a map of `pixels` pixels."""
        return max(1, min(self.class_maps, MERGED_PIXELS // pixels))


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
