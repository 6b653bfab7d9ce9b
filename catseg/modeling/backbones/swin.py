"""Swin Transformer (arXiv 2103.14030) with the padding rules of its dense-prediction release, made of timm's parts.

Each block pads the normed map to whole windows first and rolls it then, at any size; timm's own model rolls first.
"""

from collections.abc import Iterable, Sequence
from typing import cast

import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from timm.layers import PatchEmbed, calculate_drop_path_rates
from timm.models.swin_transformer import PatchMerging, SwinTransformerBlock
from torch import Tensor, nn

from catseg.config_checks import check_positive, check_share, check_sizes
from catseg.errors import InputError
from catseg.modeling.backbones.pyramid import PyramidBackbone
from catseg.modeling.layers.windows import join_windows, shifted_window_mask, split_windows

PATCH_SIZE = 4


class PaddedSwinBlock(SwinTransformerBlock):
    """timm's block, but windows keep their size on every map and padding comes before the shift."""

    def __init__(self, *, dim: int, heads: int, window: int, shift: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__(
            dim,
            input_resolution=window,
            num_heads=heads,
            window_size=window,
            shift_size=shift,
            always_partition=True,
            dynamic_mask=True,
            mlp_ratio=mlp_ratio,
            drop_path=drop_path,
        )

    def _attn(self, x: Tensor) -> Tensor:
        """Attend within windows, `(B, H, W, C)` to the same shape; padded tokens have queries, keys and values too."""
        attn, (window, _), (shift, _) = self.attn, self.window_size, self.shift_size
        height, width = x.shape[1:3]
        padding = (0, 0, 0, -width % window, 0, -height % window)
        # A linear layer maps padding to its bias, so padding after it is the same and cheaper.
        qkv = F.pad(F.linear(x, attn.qkv.weight), padding) + attn.qkv.bias if any(padding) else attn.qkv(x)
        size = (qkv.shape[1], qkv.shape[2])
        if shift:
            qkv = qkv.roll((-shift, -shift), (1, 2))
        query, key, value = (split_windows(part, window, attn.num_heads) for part in qkv.chunk(3, dim=-1))
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=self._bias(size, like=x))
        out = join_windows(out, window, attn.num_heads, size)
        if shift:
            out = out.roll((shift, shift), (1, 2))
        return attn.proj(out[:, :height, :width])

    def _bias(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """Return position bias plus shift mask for a padded map of `size`: `(1, windows * heads, w * w, w * w)`."""
        (window, _), (shift, _) = self.window_size, self.shift_size
        windows = (size[0] // window) * (size[1] // window)
        bias = self.attn._get_rel_pos_bias().expand(windows, -1, -1, -1)
        if shift:
            bias = bias + shifted_window_mask(size, window, shift, like).unsqueeze(1)
        return bias.flatten(0, 1).unsqueeze(0)


class SwinStage(nn.Module):
    """Blocks at one resolution, with the patch merging that leads to the next stage (absent in the last one)."""

    def __init__(self, *, blocks: nn.Sequential, downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = blocks
        self.downsample = downsample


@BACKBONE_REGISTRY.register()
class D2SwinTransformer(PyramidBackbone):
    """Swin as a Detectron2 backbone: maps `res2`, `res3`, ... at strides 4, 8, ..., each with its own LayerNorm.

    Stages beyond the last map that is asked for are not built.
    """

    @configurable
    def __init__(
        self,
        *,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: int,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        out_features: Sequence[str] = ("res2", "res3", "res4"),
        freeze_at: int = 0,
        activation_checkpointing: bool = False,
    ) -> None:
        """Build the network with random weights.

        Args:
            embed_dim: width of the first stage; each further stage doubles it.
            depths: blocks per stage.
            num_heads: attention heads per stage.
            window_size: side of an attention window, in tokens.
            mlp_ratio: hidden width of the MLPs over their input width.
            drop_path_rate: stochastic depth of the last block; it rises linearly from 0.
            out_features: which of `res2`, `res3`, ... to return.
            freeze_at: how many parts not to train, counting the patch embedding as the first.
            activation_checkpointing: recompute blocks in the backward pass to save memory.

        Raises:
            ValueError: if `depths` and `num_heads` differ in length or are empty, a stage is no multiple of its heads
                wide, or `out_features` names no stage.
        """
        if not depths or len(depths) != len(num_heads):
            raise InputError(
                f"MODEL.SWIN.DEPTHS {list(depths)} and MODEL.SWIN.NUM_HEADS {list(num_heads)} must have equal lengths, "
                "a number for each stage"
            )
        channels = [embed_dim * 2**i for i in range(len(depths))]
        if any(width % heads for width, heads in zip(channels, num_heads, strict=True)):
            raise InputError(
                f"MODEL.SWIN.NUM_HEADS {list(num_heads)} must divide the widths of the stages: with "
                f"MODEL.SWIN.EMBED_DIM {embed_dim} they are {channels}"
            )
        strides = [PATCH_SIZE * 2**i for i in range(len(depths))]
        super().__init__(
            channels=channels,
            strides=strides,
            out_features=out_features,
            activation_checkpointing=activation_checkpointing,
        )
        self.patch_embed = PatchEmbed(
            img_size=None, patch_size=PATCH_SIZE, embed_dim=embed_dim, norm_layer=nn.LayerNorm, output_fmt="NHWC",
            dynamic_img_pad=True,
        )  # fmt: skip
        drop_path = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        self.layers = nn.ModuleList()
        for i, dim in enumerate(channels[: self.num_stages]):
            blocks = [
                PaddedSwinBlock(
                    dim=dim,
                    heads=num_heads[i],
                    window=window_size,
                    shift=window_size // 2 if j % 2 else 0,
                    mlp_ratio=mlp_ratio,
                    drop_path=next(drop_path),
                )
                for j in range(depths[i])
            ]
            last = i == self.num_stages - 1
            self.layers.append(SwinStage(blocks=nn.Sequential(*blocks), downsample=None if last else PatchMerging(dim)))
            self.add_module(f"norm{i}", nn.LayerNorm(dim))
        self.freeze(freeze_at)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, object]:
        """Read `MODEL.SWIN`, `MODEL.BACKBONE.FREEZE_AT` and `MODEL.ACTIVATION_CHECKPOINTING`.

        Raises:
            ValueError: if a number is too low or too high.
        """
        swin = cfg.MODEL.SWIN
        sizes = ("EMBED_DIM", "DEPTHS", "NUM_HEADS", "WINDOW_SIZE")
        check_sizes({f"MODEL.SWIN.{key}": swin[key] for key in sizes})
        check_positive({"MODEL.SWIN.MLP_RATIO": swin.MLP_RATIO})
        check_share({"MODEL.SWIN.DROP_PATH_RATE": swin.DROP_PATH_RATE})
        return {
            "embed_dim": swin.EMBED_DIM,
            "depths": swin.DEPTHS,
            "num_heads": swin.NUM_HEADS,
            "window_size": swin.WINDOW_SIZE,
            "mlp_ratio": swin.MLP_RATIO,
            "drop_path_rate": swin.DROP_PATH_RATE,
            "out_features": swin.OUT_FEATURES,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
            "activation_checkpointing": cfg.MODEL.ACTIVATION_CHECKPOINTING,
        }

    def freeze_as_published(self) -> None:
        """Stop training of the norm of `res2`, which the published training leaves as it is loaded."""
        self.get_submodule("norm0").requires_grad_(False)

    def stage_modules(self) -> list[list[nn.Module | nn.Parameter]]:
        """The patch embedding, then each stage with its output norm."""
        stages: list[list[nn.Module | nn.Parameter]] = [
            [layer, self.get_submodule(f"norm{i}")] for i, layer in enumerate(self.layers)
        ]
        return [[self.patch_embed], *stages]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the maps.

        Args:
            images: `(B, 3, H, W)`, normalised, of any size; padded at the right and bottom to a multiple of 4.

        Returns:
            `{"res2": (B, C, ceil(H / 4), ceil(W / 4)), ...}` for `out_features`.
        """
        x = self.patch_embed(images)
        maps: dict[str, Tensor] = {}
        for i, layer in enumerate(cast(Iterable[SwinStage], self.layers)):
            for block in layer.blocks:
                x = self.run(block, x)
            if f"res{i + 2}" in self._out_features:
                maps[f"res{i + 2}"] = self.get_submodule(f"norm{i}")(x).permute(0, 3, 1, 2)
            if layer.downsample is not None:
                x = layer.downsample(x)
        return maps
