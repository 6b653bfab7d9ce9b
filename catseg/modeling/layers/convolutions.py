"""Convolutions that several backbones are made of."""

from collections import OrderedDict

from torch import nn


def conv_embedding(
    in_channels: int, channels: int, *, kernel: int, stride: int, padding: int, norm: nn.Module
) -> nn.Sequential:
    """Convolutional token embedding: a strided convolution `proj`, then `norm`, on maps `(B, C, H, W)`.

    With an odd kernel and a padding of half of it, sides that `stride` does not divide round up.
    """
    proj = nn.Conv2d(in_channels, channels, kernel, stride, padding)
    return nn.Sequential(OrderedDict(proj=proj, norm=norm))


def depthwise_conv(channels: int, kernel: int, *, stride: int = 1, dilation: int = 1, bias: bool = True) -> nn.Conv2d:
    """A convolution of each channel by itself, padded so that stride 1 keeps the size; `kernel` is odd."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(channels, channels, kernel, stride, padding, dilation=dilation, groups=channels, bias=bias)
