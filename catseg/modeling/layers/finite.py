"""Detection of NaN and infinity in what a network computes."""

import torch
from torch import Tensor, nn


def all_finite(x: Tensor) -> Tensor:
    """Tell whether a tensor holds finite numbers alone: a boolean scalar on its device, which is not waited for."""
    return torch.stack(x.aminmax()).isfinite().all()


def cause_of_nan(network: nn.Module, dtype: torch.dtype) -> str:
    """Say why a network gives NaN or infinity: its weights hold them, or it overflows in its computing type `dtype`."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return f"the weights hold NaN or infinity, for example in {name}, as after a training that diverged"
    if dtype == torch.float32:
        return "the network overflows, although its weights are finite: are they those of this config?"
    return f"the network overflows in {str(dtype).removeprefix('torch.')}: set TEST.DTYPE float32"
