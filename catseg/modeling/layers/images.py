"""Resizing and normalisation of images for a network."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize `(B, C, H, W)` bilinearly, without antialiasing, to `(B, C, *size)`; integers become float32."""
    x = x if x.is_floating_point() else x.float()
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class ImageInput(nn.Module):
    """Normalises RGB images and resizes them to the input size of a network; has no parameters."""

    mean: Tensor
    std: Tensor

    def __init__(self, *, mean: Sequence[float], std: Sequence[float], size: tuple[int, int]) -> None:
        """Set statistics and size.

        Args:
            mean: per channel, RGB, 0..255.
            std: likewise.
            size: height and width, in pixels.
        """
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise and resize RGB images `(B, 3, h, w)`, 0..255, to `(B, 3, *size)`."""
        return resize((images - self.mean) / self.std, self.size)
