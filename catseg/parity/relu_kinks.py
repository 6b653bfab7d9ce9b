"""Sensitivity of gradients to ReLUs whose inputs are 0 but for rounding.

The derivative of a ReLU jumps at 0. Among the millions of inputs of one training step some lie so close to it that
two exact implementations, which round differently, take different sides; everything before such a ReLU then gets
another gradient, although both are right.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

ROUNDING = 5e-6  # of a ReLU's input, in standard deviations: what sums of a thousand products in float32 come to

TINY = 1e-30  # as good as 0, but the derivative of a ReLU is 1 there

_RELUS = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default)


class _KinkSlope(TorchDispatchMode):
    """Gives every ReLU the slope `slope(x)`, 0 or 1, where its input `x` is as good as 0.

    It sees what is computed again in the backward pass, too.
    """

    def __init__(self, slope: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.slope = slope

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _RELUS:
            return func(*args, **(kwargs or {}))
        x = args[0]
        near = x.abs() < ROUNDING * x.std()
        out = torch.where(near, TINY * self.slope(x), x.clamp(min=0))
        return x.copy_(out) if func is _RELUS[1] else out


def kink_spread(gradients: Callable[[], Mapping[str, Tensor]]) -> dict[str, float]:
    """Measure how much gradients change with the sides that ReLUs take where rounding decides.

    Args:
        gradients: runs forward and backward anew and returns gradients by name.

    Returns:
        By name, the largest change of an element between any two of: all such ReLUs open, all closed, all on the side
        opposite to the computed one.
    """
    sides: list[Callable[[Tensor], Tensor]] = [torch.ones_like, torch.zeros_like, lambda x: (x <= 0).to(x.dtype)]
    found = []
    for side in sides:
        with _KinkSlope(side):
            found.append(gradients())
    stacked = {name: torch.stack([one[name] for one in found]) for name in found[0]}
    return {name: float((values.amax(0) - values.amin(0)).max()) for name, values in stacked.items()}
