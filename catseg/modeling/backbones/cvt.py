"""Convolutional vision Transformer (arXiv 2103.15808): attention whose queries, keys and values come from convolutions.

The scale of the attention is that of the stage's width, not of a head's, as in the authors' code. A class token takes
part in the last stage and changes its map.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import BACKBONE_REGISTRY
from timm.layers import DropPath, LayerNorm2d, Mlp, calculate_drop_path_rates
from torch import Tensor, nn

from catseg.modeling.backbones.pyramid import SizedBackbone
from catseg.modeling.layers.activations import QuickGELU
from catseg.modeling.layers.convolutions import conv_embedding, depthwise_conv
from catseg.modeling.layers.initialisation import init_linear

LAYER_NORM_EPSILON = 1e-5


def conv_projection(dim: int, *, stride: int) -> nn.Sequential:
    """The convolutional part of a projection: each channel by itself, then a batch norm."""
    conv = depthwise_conv(dim, 3, stride=stride, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(dim)))


class ConvAttention(nn.Module):
    """Attention with convolutional projections (section 3.2); keys and values are at half the resolution."""

    def __init__(self, *, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = dim**-0.5
        self.conv_proj_q = conv_projection(dim, stride=1)
        self.conv_proj_k = conv_projection(dim, stride=2)
        self.conv_proj_v = conv_projection(dim, stride=2)
        self.proj_q = nn.Linear(dim, dim)
        self.proj_k = nn.Linear(dim, dim)
        self.proj_v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Attend over all tokens: `(B, L, C)` to the same shape; arguments as of `CvTBlock`."""
        class_tokens = x.shape[1] - size[0] * size[1]
        first, rest = x[:, :class_tokens], x[:, class_tokens:]
        image = rest.transpose(1, 2).unflatten(2, size).contiguous(memory_format=torch.channels_last)
        query, key, value = (
            self._split_heads(linear(_join(first, conv(image))))
            for conv, linear in (
                (self.conv_proj_q, self.proj_q),
                (self.conv_proj_k, self.proj_k),
                (self.conv_proj_v, self.proj_v),
            )
        )
        attended = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return self.proj(attended.transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


def _join(first: Tensor, image: Tensor) -> Tensor:
    """Tokens `(B, K, C)`, K possibly 0, followed by those of a map `(B, C, H, W)`."""
    tokens = image.flatten(2).transpose(1, 2)
    return torch.cat((first, tokens), dim=1) if first.shape[1] else tokens


class CvTBlock(nn.Module):
    """Convolutional attention and an MLP, each after a layer norm and in a residual branch."""

    def __init__(self, *, dim: int, num_heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.attn = ConvAttention(dim=dim, num_heads=num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=QuickGELU)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Add both branches.

        Args:
            x: `(B, L, C)`: the class token, if the stage has one, then the map's tokens, row by row.
            size: rows and columns of the map.

        Returns:
            `(B, L, C)`.
        """
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class CvTStage(nn.Module):
    """A token embedding and the blocks at its resolution; the class token, if any, comes before the map's tokens."""

    def __init__(self, *, patch_embed: nn.Module, blocks: Iterable[CvTBlock], cls_token: nn.Parameter | None) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.blocks = nn.Sequential(*blocks)
        self.cls_token = cls_token


@BACKBONE_REGISTRY.register()
class CvT(SizedBackbone):
    """CvT as a Detectron2 backbone: maps `res2`, `res3` and `res4` at strides 4, 8 and 16, without norms.

    There is no map of stride 32. Stages beyond the last map that is asked for are not built.
    """

    sizes: ClassVar = {
        "cvt-13": {"embed_dims": (64, 192, 384), "num_heads": (1, 3, 6), "depths": (1, 2, 10)},
        "cvt-21": {"embed_dims": (64, 192, 384), "num_heads": (1, 3, 6), "depths": (1, 4, 16)},
        "cvt-w24": {"embed_dims": (192, 768, 1024), "num_heads": (3, 12, 16), "depths": (2, 2, 20)},
    }

    @configurable
    def __init__(
        self,
        *,
        embed_dims: Sequence[int],
        num_heads: Sequence[int],
        depths: Sequence[int],
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        out_features: Sequence[str] = ("res2", "res3", "res4"),
        freeze_at: int = 0,
        activation_checkpointing: bool = False,
    ) -> None:
        """Build the network with random weights.

        Args:
            embed_dims: width of each stage.
            num_heads: attention heads of each stage.
            depths: blocks of each stage.
            mlp_ratio: hidden width of the MLPs over their input width.
            drop_path_rate: stochastic depth of the last block; it rises linearly from 0 within the last stage, the
                other stages have none.
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
        self.stages = nn.ModuleList()
        for i, dim in enumerate(embed_dims[: self.num_stages]):
            is_last = i == len(embed_dims) - 1
            rates = calculate_drop_path_rates(drop_path_rate if is_last else 0.0, depths[i])
            patch_embed = conv_embedding(
                embed_dims[i - 1] if i else 3,
                dim,
                kernel=3 if i else 7,
                stride=2 if i else 4,
                padding=1 if i else 2,
                norm=LayerNorm2d(dim, eps=LAYER_NORM_EPSILON),
            )
            blocks = [CvTBlock(dim=dim, num_heads=num_heads[i], mlp_ratio=mlp_ratio, drop_path=rate) for rate in rates]
            cls_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, dim), std=0.02)) if is_last else None
            self.stages.append(CvTStage(patch_embed=patch_embed, blocks=blocks, cls_token=cls_token))
        self.apply(init_linear)
        self.freeze(freeze_at)

    def stage_modules(self) -> list[list[nn.Module | nn.Parameter]]:
        """The first token embedding, the rest of its stage, then each further stage."""
        first, *others = cast(Iterable[CvTStage], self.stages)
        parts: list[list[nn.Module | nn.Parameter]] = [[first.patch_embed], [first.blocks]]
        return parts + [[stage] for stage in others]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the maps.

        Args:
            images: `(B, 3, H, W)`, normalised, with sides of at least 3 pixels.

        Returns:
            `{"res2": (B, C, ceil((H - 2) / 4), ceil((W - 2) / 4)), ...}` for `out_features`; sides are halved, rounding
            up, from stage to stage.
        """
        x = images.contiguous(memory_format=torch.channels_last)  # as tokens lie in memory
        maps: dict[str, Tensor] = {}
        for i, stage in enumerate(cast(Iterable[CvTStage], self.stages)):
            x = self._run_stage(stage, stage.patch_embed(x))
            if f"res{i + 2}" in self._out_features:
                maps[f"res{i + 2}"] = x
        return maps

    def _run_stage(self, stage: CvTStage, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        size = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2)
        if stage.cls_token is not None:
            tokens = torch.cat((stage.cls_token.expand(len(x), -1, -1), tokens), dim=1)
        for block in stage.blocks:
            tokens = self.run(block, tokens, size)
        return tokens[:, -size.numel() :].transpose(1, 2).unflatten(2, size)
