"""Convolution in the frequency domain, where the cost does not depend on the kernel size.

Shapes: N maps, H x W cells, I and O channels, F frequencies. A map is padded with zeros to `padded_size`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def padded_size(size: tuple[int, int], kernel: int) -> tuple[int, int]:
    """Return the rows and columns of a zero-padded map in which circular and ordinary convolution agree.

    Args:
        size: rows and columns of the map.
        kernel: side of the kernel, odd, centred.
    """
    return max(size[0] + kernel // 2, kernel), max(size[1] + kernel // 2, kernel)


def spectrum(maps: Tensor, padded: tuple[int, int]) -> Tensor:
    """Transform maps `(N, H, W, I)` to the frequency domain: complex `(F, N, I)`."""
    return torch.fft.rfft2(maps, s=padded, dim=(1, 2)).flatten(1, 2).transpose(0, 1).contiguous()


def kernel_spectrum(weight: Tensor, padded: tuple[int, int]) -> Tensor:
    """Transform a convolution's weight `(O, I, k, k)`, k odd, to the frequency domain: complex `(F, I, O)`.

    The kernel has few cells, so multiplying by the transforms of single cells is faster than an FFT of each kernel.
    """
    side = weight.shape[-1]
    cells = torch.eye(side * side, dtype=weight.dtype, device=weight.device).view(-1, side, side)
    cells = F.pad(cells, (0, padded[1] - side, 0, padded[0] - side)).roll((-(side // 2),) * 2, dims=(1, 2))
    waves = torch.fft.rfft2(cells).conj().flatten(1).T
    weights = weight.permute(2, 3, 1, 0).flatten(0, 1).flatten(1)
    return torch.complex(waves.real @ weights, waves.imag @ weights).unflatten(1, (weight.shape[1], weight.shape[0]))


def maps_of(frequencies: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Transform back, the inverse of `spectrum`: complex `(F, N, O)` to `(N, *size, O)`."""
    grid = frequencies.unflatten(0, (padded[0], padded[1] // 2 + 1))
    return torch.fft.irfft2(grid, s=padded, dim=(0, 1))[: size[0], : size[1]].permute(2, 0, 1, 3).contiguous()
