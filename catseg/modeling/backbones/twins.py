"""Twins (arXiv 2104.13840), made of timm's blocks, with the rules of the authors' segmentation code.

Twins-SVT has a norm after each stage, which also feeds the next one, and a mask in its window attention; timm's models
have neither. Twins-PCPVT has no such norms: its maps are the stages' raw tokens.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar, cast

import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import BACKBONE_REGISTRY
from einops import rearrange
from timm.layers import calculate_drop_path_rates
from timm.models.twins import Block, LocallyGroupedAttn, PatchEmbed, PosConv
from torch import Tensor, nn

from catseg.errors import InputError
from catseg.modeling.backbones.pyramid import SizedBackbone
from catseg.modeling.layers.initialisation import init_conv, init_linear
from catseg.modeling.layers.windows import join_windows, split_windows

LAYER_NORM = partial(nn.LayerNorm, eps=1e-6)  # of blocks and outputs; the norms of convolutions have torch's epsilon
MASKED = -1000.0


class PaddedWindowAttention(LocallyGroupedAttn):
    """timm's window attention with the authors' rule for maps that windows do not tile.

    Tokens are zero-padded at the right and bottom. Padded tokens are hidden only where both sides need padding; where
    one does, they take part in the attention.
    """

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Attend within windows: tokens `(B, H * W, C)` of a map of `size` `(H, W)` to the same shape."""
        batch, (height, width) = len(x), size
        bottom, right = -height % self.ws, -width % self.ws
        padding = (0, 0, 0, right, 0, bottom)
        windows = split_windows(F.pad(x.unflatten(1, size), padding), self.ws, 1)
        q, k, v = rearrange(self.qkv(windows), "b n t (qkv k c) -> qkv (b n) k t c", qkv=3, k=self.num_heads)
        mask = None
        if bottom and right:
            # Queries that are padding are cropped below, so that a mask over keys alone gives the same.
            keys = F.pad(q.new_zeros(batch, height, width, 1), padding, value=MASKED)
            mask = rearrange(split_windows(keys, self.ws, 1), "b n t 1 -> (b n) 1 1 t")
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = rearrange(x, "(b n) k t c -> b n t (k c)", b=batch)
        x = join_windows(x, self.ws, 1, (height + bottom, width + right))
        return self.proj(x[:, :height, :width].flatten(1, 2))


class PatchConv(nn.Conv2d):
    """A convolution whose stride is its kernel, computed as a linear layer on patches: faster, most of all on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)`, whose memory is `(B, H, W, C)`, to `(B, C, H // stride, W // stride)`, likewise."""
        side = self.stride[0]
        rows, columns = x.shape[2] // side, x.shape[3] // side
        patches = rearrange(
            x[:, :, : rows * side, : columns * side], "b c (h i) (w j) -> b h w (i j c)", i=side, j=side
        )
        return F.linear(patches, rearrange(self.weight, "o c i j -> o (i j c)"), self.bias).permute(0, 3, 1, 2)


class TwinsStage(nn.Module):
    """A patch embedding, blocks at its resolution with a convolution for positions after the first, and a norm."""

    def __init__(self, *, patch_embed: nn.Module, blocks: Iterable[Block], pos_block: PosConv, norm: nn.Module) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.blocks = nn.ModuleList(blocks)
        self.pos_block = pos_block
        self.norm = norm


class Twins(SizedBackbone):
    """Base of both kinds of Twins: maps `res2` to `res5` at strides 4, 8, 16 and 32; sides are rounded down.

    Stages beyond the last map that is asked for are not built.
    """

    @configurable
    def __init__(
        self,
        *,
        embed_dims: Sequence[int],
        num_heads: Sequence[int],
        depths: Sequence[int],
        mlp_ratios: Sequence[float],
        sr_ratios: Sequence[int] = (8, 4, 2, 1),
        window_sizes: Sequence[int] | None = None,
        drop_path_rate: float = 0.0,
        out_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
        freeze_at: int = 0,
        activation_checkpointing: bool = False,
    ) -> None:
        """Build the network with random weights.

        Args:
            embed_dims: width of each stage.
            num_heads: attention heads of each stage.
            depths: blocks of each stage.
            mlp_ratios: hidden width of each stage's MLPs over the stage's width.
            sr_ratios: by how much the keys and values of each stage's global attention are subsampled, per side.
            window_sizes: side of the windows of each stage, in tokens. With them every other block, from the first on,
                attends within windows, and a norm follows each stage; without, there is neither.
            drop_path_rate: stochastic depth of the last block of all stages; it rises linearly from 0.
            out_features: which of `res2`, `res3`, ... to return.
            freeze_at: how many parts not to train, counting the first patch embedding as the first.
            activation_checkpointing: recompute blocks in the backward pass to save memory.

        Raises:
            ValueError: if `out_features` names no stage.
        """
        strides = [4 * 2**i for i in range(len(embed_dims))]
        super().__init__(
            channels=embed_dims,
            strides=strides,
            out_features=out_features,
            activation_checkpointing=activation_checkpointing,
        )
        self.min_side = max(
            stride * ratio for stride, ratio in zip(strides, sr_ratios[: self.num_stages], strict=False)
        )
        rates = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        self.stages = nn.ModuleList()
        for i, dim in enumerate(embed_dims[: self.num_stages]):
            windows = [window_sizes[i] if window_sizes and j % 2 == 0 else 1 for j in range(depths[i])]
            blocks = [
                _block(dim, num_heads[i], window, mlp_ratio=mlp_ratios[i], drop_path=rate, sr_ratio=sr_ratios[i])
                for window, rate in zip(windows, rates[i], strict=True)
            ]
            patch = PatchEmbed(patch_size=2 if i else 4, in_chans=embed_dims[i - 1] if i else 3, embed_dim=dim)
            norm = LAYER_NORM(dim) if window_sizes else nn.Identity()
            self.stages.append(TwinsStage(patch_embed=patch, blocks=blocks, pos_block=PosConv(dim, dim), norm=norm))
        self.apply(init_linear)
        self.apply(init_conv)
        self.freeze(freeze_at)

    def stage_modules(self) -> list[list[nn.Module | nn.Parameter]]:
        """The first patch embedding, the rest of its stage, then each further stage."""
        first, *others = cast(Iterable[TwinsStage], self.stages)
        return [[first.patch_embed], [first.blocks, first.pos_block, first.norm], *([stage] for stage in others)]

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that the authors do not decay: the convolutions that stand for positions."""
        return {name for name, _ in self.named_parameters() if ".pos_block." in name}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the maps.

        Args:
            images: `(B, 3, H, W)`, normalised, with sides of 32 pixels or more.

        Returns:
            `{"res2": (B, C, H // 4, W // 4), ...}` for `out_features`.

        Raises:
            ValueError: if a side is shorter than the subsampling of the global attention reaches.
        """
        if min(images.shape[2:]) < self.min_side:
            raise InputError(f"images need sides of {self.min_side} pixels or more, got {tuple(images.shape[2:])}")
        x = images
        maps: dict[str, Tensor] = {}
        for i, stage in enumerate(cast(Iterable[TwinsStage], self.stages)):
            tokens, size = stage.patch_embed(x)
            first, *others = cast(Iterable[Block], stage.blocks)
            tokens = stage.pos_block(self.run(first, tokens, size), size)
            for block in others:
                tokens = self.run(block, tokens, size)
            x = stage.norm(tokens).unflatten(1, size).permute(0, 3, 1, 2)
            if f"res{i + 2}" in self._out_features:
                maps[f"res{i + 2}"] = x
        return maps


def _block(dim: int, heads: int, window: int, *, mlp_ratio: float, drop_path: float, sr_ratio: int) -> Block:
    """A block of timm's; a window of 1 stands for global attention."""
    block = Block(
        dim, heads, mlp_ratio=mlp_ratio, drop_path=drop_path, norm_layer=LAYER_NORM, sr_ratio=sr_ratio, ws=window
    )
    if window > 1:
        block.attn = PaddedWindowAttention(dim, heads, ws=window)
    elif sr_ratio > 1:
        block.attn.sr = PatchConv(dim, dim, sr_ratio, sr_ratio)
    return block


@BACKBONE_REGISTRY.register()
class TwinsPCPVT(Twins):
    """Pyramid Vision Transformer with positions from convolutions: every block's attention is global."""

    sizes: ClassVar = {
        name: {
            "embed_dims": (64, 128, 320, 512),
            "num_heads": (1, 2, 5, 8),
            "depths": depths,
            "mlp_ratios": (8, 8, 4, 4),
        }
        for name, depths in {"small": (3, 4, 6, 3), "base": (3, 4, 18, 3), "large": (3, 8, 27, 3)}.items()
    }


@BACKBONE_REGISTRY.register()
class TwinsSVT(Twins):
    """Spatially separable vision transformer: attention within windows and global attention take turns."""

    sizes: ClassVar = {
        name: {
            "embed_dims": tuple(width * 2**i for i in range(4)),
            "num_heads": tuple(width // 32 * 2**i for i in range(4)),
            "depths": depths,
            "mlp_ratios": (4, 4, 4, 4),
            "window_sizes": (7, 7, 7, 7),
        }
        for name, width, depths in (
            ("small", 64, (2, 2, 10, 4)),
            ("base", 96, (2, 2, 18, 2)),
            ("large", 128, (2, 2, 18, 2)),
        )
    }
