"""How far gradients depend on which side of 0 rounding puts the input of a ReLU.

The derivative of a ReLU jumps at 0. Among the millions of inputs of one training step some lie so close to it that
two exact implementations, which round differently, take different sides; everything before such a ReLU then gets
another gradient, although both are right.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

ROUNDING = 5e-6  # of a ReLU's input, in standard deviations: what sums of a thousand products in float32 come to

_RELUS = (torch.relu, torch.relu_, F.relu, Tensor.relu, Tensor.relu_)


class _KinkSlope(TorchFunctionMode):
    """Gives every ReLU the slope `slope(x)` where its input `x` is as good as 0."""

    def __init__(self, slope: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.slope = slope

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _RELUS:
            return func(*args, **(kwargs or {}))
        x = args[0]
        near = x.detach().abs() < ROUNDING * x.detach().std()
        return torch.where(near, x * self.slope(x.detach()), x.clamp(min=0))


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
