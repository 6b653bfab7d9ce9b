"""Initial weights that vision transformers share; for `nn.Module.apply`."""

import math

from torch import nn


def init_linear(module: nn.Module) -> None:
    """Give a linear layer weights of standard deviation 0.02 and no bias; leave other modules as they are."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_conv(module: nn.Module) -> None:
    """Give a convolution weights of variance 2 / (fan out per group) and no bias; leave other modules as they are."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
