"""Activation functions."""

import torch.nn.functional as F
from torch import Tensor, nn

STEEPNESS = 1.702  # of the sigmoid that resembles the normal distribution's


class QuickGELU(nn.Module):
    """`x * sigmoid(1.702 * x)`, the approximation of GELU that OpenAI's CLIP was trained with (arXiv 1606.08415).

    As a SiLU it keeps one tensor for the backward pass, where the product of its factors, as open_clip and timm have
    it, keeps two.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor of any shape to the same shape."""
        return F.silu(STEEPNESS * x) / STEEPNESS


def use_lean_activations(model: nn.Module, kind: type[nn.Module]) -> None:
    """Replace each module of class `kind` inside a model, another form of QuickGELU, by `QuickGELU`."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kind):
                setattr(parent, name, QuickGELU())
