"""Selective activation checkpointing: less memory in training where recomputing costs little."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def checkpointed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Return `function(*inputs)`, with its intermediate results recomputed in the backward pass.

    Where no gradient is recorded, the function is just called. A linear layer or convolution that comes last is not
    computed again, since its backward pass needs its input alone.

    Args:
        function: deterministic; it draws no random numbers.
        inputs: kept for the backward pass.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
