"""The decoder: upsamples the map of each class to four times the cost resolution, guided by fine backbone maps.

Shapes: B crops, T classes, h x w cells of the map at hand, G guidance channels (section 3.4 of the paper).
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseg.errors import InputError
from catseg.modeling.layers.checkpointing import checkpointed
from catseg.modeling.layers.chunking import map_chunks

CHANNELS_PER_GROUP = 16


class GuidedUpsampling(nn.Module):
    """Transposed convolution, concatenation with guidance, and two convolutions with GroupNorm and ReLU.

    The transposed and the first convolution are linear, so they are computed as one transposed convolution with a
    4 x 4 kernel. The guidance, which all classes share, is convolved once per crop and added.
    """

    def __init__(self, *, in_dim: int, out_dim: int, guidance_dim: int) -> None:
        """Build the layers.

        Raises:
            ValueError: if the guidance is as wide as the input, or `out_dim` is not a multiple of 16.
        """
        super().__init__()
        if guidance_dim >= in_dim or out_dim % CHANNELS_PER_GROUP:
            raise InputError(
                f"DECODER_DIMS must be multiples of {CHANNELS_PER_GROUP} and guidance narrower than the map, first of "
                f"HIDDEN_DIMS, got {out_dim} from a map of {in_dim} with guidance of {guidance_dim} channels"
            )
        self.map_dim = in_dim - guidance_dim
        groups = out_dim // CHANNELS_PER_GROUP
        self.up = nn.ConvTranspose2d(in_dim, self.map_dim, 2, stride=2)
        self.conv1 = nn.Conv2d(in_dim, out_dim, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, out_dim)
        self.conv2 = nn.Conv2d(out_dim, out_dim, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, out_dim)

    def kernel(self) -> Tensor:
        """Compose both convolutions' kernels: `(in_dim, out_dim, 4, 4)`, for stride 2 and padding 1."""
        with torch.autocast(self.up.weight.device.type, enabled=False):
            return F.conv2d(self.up.weight, self.conv1.weight[:, : self.map_dim], padding=2)

    def project_guidance(self, guidance: Tensor) -> Tensor:
        """Convolve guidance `(B, G, 2 * h, 2 * w)`, biases included: `(B, 1, out_dim, 2 * h, 2 * w)`."""
        bias = cast(Tensor, self.up.bias).to(guidance.dtype).view(-1, 1, 1)
        constant = bias.expand(len(guidance), -1, *guidance.shape[2:])
        share = self.conv1(torch.cat((constant, guidance), dim=1))
        return share.contiguous(memory_format=torch.channels_last).unsqueeze(1)

    def forward(self, x: Tensor, kernel: Tensor, guidance: Tensor) -> Tensor:
        """Upsample.

        Args:
            x: `(B * T, in_dim, h, w)`, crop by crop.
            kernel: the output of `kernel`.
            guidance: the output of `project_guidance` for the B crops.

        Returns:
            `(B * T, out_dim, 2 * h, 2 * w)`.
        """
        x = F.conv_transpose2d(x, kernel, stride=2, padding=1)
        x = (x.unflatten(0, (len(guidance), -1)) + guidance).flatten(0, 1)
        x = checkpointed(lambda x: self.conv2(F.relu(self.norm1(x), inplace=True)), x)
        return F.relu(self.norm2(x), inplace=True)


def one_channel_convolution(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a 3 x 3 convolution with padding 1 and one output channel to maps `(N, C, h, w)`: `(N, h, w)`.

    A product for each of the nine offsets, then a sum, is several times faster than PyTorch's convolution here.
    Autocast is off: half precision would round away small differences between classes.
    """
    with torch.autocast(x.device.type, enabled=False):
        products = conv.weight[0].flatten(1).flip(1).T @ x.flatten(2).to(conv.weight.dtype)
        return F.fold(products, x.shape[-2:], kernel_size=3, padding=1)[:, 0] + cast(Tensor, conv.bias)


class UpsamplingDecoder(nn.Module):
    """Guided upsamplings, then a convolution to one logit per cell and class."""

    def __init__(self, *, in_dim: int, dims: Sequence[int], guidance_dims: Sequence[int]) -> None:
        """Build the layers.

        Args:
            in_dim: channels of the aggregated maps.
            dims: channels after each upsampling.
            guidance_dims: guidance channels of each upsampling.

        Raises:
            ValueError: if the two lists are empty, differ in length or hold unusable widths.
        """
        super().__init__()
        if not dims or len(dims) != len(guidance_dims):
            raise InputError(
                f"DECODER_DIMS {list(dims)}, at least one, needs as many DECODER_GUIDANCE_PROJ_DIMS, "
                f"got {list(guidance_dims)}"
            )
        in_dims = (in_dim, *dims[:-1])
        self.stages = nn.ModuleList(
            GuidedUpsampling(in_dim=i, out_dim=o, guidance_dim=g)
            for i, o, g in zip(in_dims, dims, guidance_dims, strict=True)
        )
        self.head = nn.Conv2d(dims[-1], 1, 3, padding=1)

    def forward(self, x: Tensor, guidance: Sequence[Tensor], *, classes_per_chunk: int) -> Tensor:
        """Decode.

        Args:
            x: aggregated maps `(B, T, H, W, D)`.
            guidance: per upsampling, maps `(B, G, 2 ** i * H, 2 ** i * W)`, i = 1, 2, ...
            classes_per_chunk: classes to decode at once.

        Returns:
            Logits `(B, T, 4 * H, 4 * W)` for two upsamplings.
        """
        stages = cast(Sequence[GuidedUpsampling], self.stages)
        shares = [(stage.kernel(), stage.project_guidance(maps)) for stage, maps in zip(stages, guidance, strict=True)]

        def decode(tokens: Tensor) -> Tensor:
            maps = tokens.flatten(0, 1).permute(0, 3, 1, 2)
            for stage, (kernel, share) in zip(stages, shares, strict=True):
                maps = stage(maps, kernel, share)
            return one_channel_convolution(maps, self.head).unflatten(0, tokens.shape[:2])

        return map_chunks(decode, x, dim=1, size=classes_per_chunk)
