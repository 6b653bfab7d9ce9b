"""Memory for time in training, where little time buys much memory."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`function(*inputs)`; where a gradient is recorded, what it computes on the way is not kept but computed again.

    A product or a convolution that comes last is not computed again: all that it keeps is its input.

    Args:
        function: computes the same each time: it draws no random numbers.
        inputs: what is kept in its place.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
