"""Activation functions."""

import torch.nn.functional as F
from torch import Tensor, nn

STEEPNESS = 1.702  # of the sigmoid that approximates the normal distribution function


class QuickGELU(nn.Module):
    """`x * sigmoid(1.702 * x)`, the approximation of GELU that OpenAI's CLIP was trained with (arXiv 1606.08415).

    A SiLU keeps one tensor for the backward pass, the product that open_clip and timm compute keeps two.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor of any shape to the same shape."""
        return F.silu(STEEPNESS * x) / STEEPNESS


def use_lean_activations(model: nn.Module, kind: type[nn.Module]) -> None:
    """Replace all modules of class `kind`, another implementation of QuickGELU, by `QuickGELU`, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kind):
                setattr(parent, name, QuickGELU())
