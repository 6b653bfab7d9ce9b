"""Visual Attention Network (arXiv 2202.09741): convolutional stages with large-kernel attention.

Batch and layer norms have the epsilons of the authors' segmentation code, and every stage's output norm also feeds the
next stage.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import BACKBONE_REGISTRY
from timm.layers import DropPath, LayerNorm2d, calculate_drop_path_rates
from torch import Tensor, nn

from catseg.modeling.backbones.pyramid import SizedBackbone
from catseg.modeling.layers.convolutions import conv_embedding, depthwise_conv
from catseg.modeling.layers.initialisation import init_conv

LAYER_SCALE = 1e-2
LAYER_NORM_EPSILON = 1e-5


def _scaled_projection(conv: nn.Conv2d, x: Tensor, scale: Tensor) -> Tensor:
    """`scale[:, None, None] * conv(x)` of `x` `(B, I, H, W)` and `scale` `(O,)`, in one pass over the result."""
    return F.conv2d(x, conv.weight * scale[:, None, None, None], cast(Tensor, conv.bias) * scale)


class LargeKernelAttention(nn.Module):
    """Attention over 23 x 23 neighbours by two depthwise convolutions (section 3.1), with a shortcut around it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(dim, dim, 1)
        self.activation = nn.GELU()
        self.spatial_gating_unit = nn.Sequential(
            OrderedDict(
                conv0=depthwise_conv(dim, 5),
                conv_spatial=depthwise_conv(dim, 7, dilation=3),
                conv1=nn.Conv2d(dim, dim, 1),
            )
        )
        self.proj_2 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        """Attend: `(B, C, H, W)` to the same shape, each channel times its `scale` `(C,)`."""
        value = self.activation(self.proj_1(x))
        out = _scaled_projection(self.proj_2, value * self.spatial_gating_unit(value), scale)
        return torch.addcmul(out, x, scale[:, None, None])


class VANBlock(nn.Module):
    """Large-kernel attention and a convolutional MLP, each after a batch norm and in a scaled residual branch."""

    def __init__(self, *, dim: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = LargeKernelAttention(dim)
        self.layer_scale_1 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = nn.Sequential(
            OrderedDict(
                fc1=nn.Conv2d(dim, hidden, 1),
                dwconv=depthwise_conv(hidden, 3),
                activation=nn.GELU(),
                fc2=nn.Conv2d(hidden, dim, 1),
            )
        )
        self.layer_scale_2 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Add both branches: `(B, C, H, W)` to the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x), self.layer_scale_1))
        fc1, dwconv, activation, fc2 = self.mlp
        hidden = activation(dwconv(fc1(self.norm2(x))))
        return x + self.drop_path(_scaled_projection(cast(nn.Conv2d, fc2), hidden, self.layer_scale_2))


class VANStage(nn.Module):
    """A token embedding, blocks at its resolution, and the norm of their output."""

    def __init__(self, *, patch_embed: nn.Module, blocks: Iterable[VANBlock], norm: nn.Module) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.blocks = nn.Sequential(*blocks)
        self.norm = norm


@BACKBONE_REGISTRY.register()
class VAN(SizedBackbone):
    """VAN as a Detectron2 backbone: maps `res2` to `res5` at strides 4, 8, 16 and 32, layer-normed.

    Stages beyond the last map that is asked for are not built.
    """

    sizes: ClassVar = {
        "b0": {"embed_dims": (32, 64, 160, 256), "depths": (3, 3, 5, 2)},
        "b1": {"embed_dims": (64, 128, 320, 512), "depths": (2, 2, 4, 2)},
        "b2": {"embed_dims": (64, 128, 320, 512), "depths": (3, 3, 12, 3)},
        "b3": {"embed_dims": (64, 128, 320, 512), "depths": (3, 5, 27, 3)},
        "b4": {"embed_dims": (64, 128, 320, 512), "depths": (3, 6, 40, 3)},
        "b5": {"embed_dims": (96, 192, 480, 768), "depths": (3, 3, 24, 3)},
        "b6": {"embed_dims": (96, 192, 384, 768), "depths": (6, 6, 90, 6)},
    }

    @configurable
    def __init__(
        self,
        *,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        mlp_ratios: Sequence[float] = (8, 8, 4, 4),
        drop_path_rate: float = 0.0,
        out_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
        freeze_at: int = 0,
        activation_checkpointing: bool = False,
    ) -> None:
        """Build the network with random weights.

        Args:
            embed_dims: width of each stage.
            depths: blocks of each stage.
            mlp_ratios: hidden width of each stage's MLPs over the stage's width.
            drop_path_rate: stochastic depth of the last block of all stages; it rises linearly from 0.
            out_features: which of `res2`, `res3`, ... to return.
            freeze_at: how many parts not to train, counting the first token embedding as the first.
            activation_checkpointing: recompute blocks in the backward pass to save memory.

        Raises:
            ValueError: if `out_features` names no stage.
        """
        super().__init__(
            channels=embed_dims,
            strides=[4 * 2**i for i in range(len(embed_dims))],
            out_features=out_features,
            activation_checkpointing=activation_checkpointing,
        )
        rates = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        stages = [
            VANStage(
                patch_embed=conv_embedding(
                    embed_dims[i - 1] if i else 3,
                    dim,
                    kernel=3 if i else 7,
                    stride=2 if i else 4,
                    padding=1 if i else 3,
                    norm=nn.BatchNorm2d(dim),
                ),
                blocks=[VANBlock(dim=dim, mlp_ratio=mlp_ratios[i], drop_path=rate) for rate in rates[i]],
                norm=LayerNorm2d(dim, eps=LAYER_NORM_EPSILON),
            )
            for i, dim in enumerate(embed_dims[: self.num_stages])
        ]
        self.stages = nn.ModuleList(stages)
        self.apply(init_conv)
        self.freeze(freeze_at)

    def stage_modules(self) -> list[list[nn.Module | nn.Parameter]]:
        """The first token embedding, the rest of its stage, then each further stage."""
        first, *others = cast(Iterable[VANStage], self.stages)
        parts: list[list[nn.Module | nn.Parameter]] = [[first.patch_embed], [first.blocks, first.norm]]
        return parts + [[stage] for stage in others]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the maps.

        Args:
            images: `(B, 3, H, W)`, normalised, of any size.

        Returns:
            `{"res2": (B, C, ceil(H / 4), ceil(W / 4)), ...}` for `out_features`; sides are halved, rounding up, from
            stage to stage.
        """
        x = images
        maps: dict[str, Tensor] = {}
        for i, stage in enumerate(cast(Iterable[VANStage], self.stages)):
            x = stage.patch_embed(x).contiguous()  # depthwise convolutions are slower on channels last
            for block in stage.blocks:
                x = self.run(block, x)
            x = stage.norm(x)  # channels last in memory, where the next embedding's long sums round less
            if f"res{i + 2}" in self._out_features:
                maps[f"res{i + 2}"] = x
        return maps
