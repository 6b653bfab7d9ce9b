"""ViT-Adapter (arXiv 2205.08534): a plain ViT that exchanges features with a convolutional pyramid beside it.

The ViT's weights come from ordinary image classification. Batch norms and the sums at the end are those of the authors'
segmentation code; their detection code adds other ViT features.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from timm.layers import PatchEmbed, calculate_drop_path_rates
from torch import Tensor, nn

from catseg.errors import InputError
from catseg.modeling.backbones.pyramid import SizedBackbone
from catseg.modeling.backbones.vit_adapter_blocks import (
    PYRAMID_LEVELS,
    Interaction,
    Layout,
    SpatialPrior,
    ViTBlock,
    join_levels,
)
from catseg.modeling.layers.deformable_attention import DeformableAttention
from catseg.modeling.layers.initialisation import init_conv, init_linear
from catseg.modeling.layers.pos_embed import resize_position_embedding

PATCH_SIZE = 16
STRIDES = (4, 8, 16, 32)
EXTRA_EXTRACTORS = 2


@BACKBONE_REGISTRY.register()
class ViTAdapter(SizedBackbone):
    """ViT-Adapter as a Detectron2 backbone: maps `res2` to `res5` at strides 4, 8, 16 and 32, batch-normed.

    `base` and `base_384` differ in the position table alone: pretrained with 224 (DeiT) or 384 pixels (AugReg).
    """

    sizes: ClassVar = {
        "tiny": {"embed_dim": 192, "num_heads": 3, "deform_num_heads": 6},
        "small": {"embed_dim": 384, "num_heads": 6, "deform_num_heads": 6},
        "base": {"embed_dim": 768, "num_heads": 12, "deform_num_heads": 12, "deform_ratio": 0.5},
        "base_384": {
            "embed_dim": 768, "num_heads": 12, "deform_num_heads": 12, "deform_ratio": 0.5, "pretrain_size": 384,
        },
        "large": {
            "embed_dim": 1024, "num_heads": 16, "deform_num_heads": 16, "deform_ratio": 0.5, "pretrain_size": 384,
            "depth": 24, "interaction_indexes": ((0, 5), (6, 11), (12, 17), (18, 23)),
        },
    }  # fmt: skip

    @configurable
    def __init__(
        self,
        *,
        embed_dim: int,
        num_heads: int,
        deform_num_heads: int,
        deform_ratio: float = 1.0,
        pretrain_size: int = 224,
        depth: int = 12,
        interaction_indexes: Sequence[Sequence[int]] = ((0, 2), (3, 5), (6, 8), (9, 11)),
        mlp_ratio: float = 4.0,
        windows: Sequence[int] = (),
        prior_width: int = 64,
        points: int = 4,
        conv_ffn_ratio: float = 0.25,
        extra_extractors: bool = True,
        add_vit_features: bool = True,
        drop_path_rate: float = 0.0,
        out_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
        freeze_at: int = 0,
        activation_checkpointing: bool = False,
    ) -> None:
        """Build the network with random weights.

        Args:
            embed_dim: width of the ViT, and of all maps.
            num_heads: attention heads of the ViT.
            deform_num_heads: heads of the deformable attention.
            deform_ratio: width of the values in deformable attention over `embed_dim`.
            pretrain_size: side of the images, in pixels, that the position table is made for; other sizes resize it.
            depth: blocks of the ViT.
            interaction_indexes: first and last block of each run of blocks that an injector and an extractor enclose.
            mlp_ratio: hidden width of the ViT's MLPs over `embed_dim`.
            windows: side of each block's attention windows, in tokens, 0 for attention to all; empty: all 0.
            prior_width: channels of the spatial prior's stem.
            points: points per head and level in deformable attention.
            conv_ffn_ratio: hidden width of the extractors' MLPs over `embed_dim`; 0 for none.
            extra_extractors: have two more extractors at the end.
            add_vit_features: add the tokens after the four runs to the four maps.
            drop_path_rate: stochastic depth of the last ViT block, rising linearly from 0, and of the extractors' MLPs.
            out_features: which of `res2`, ..., `res5` to return; what only the others need is not built.
            freeze_at: how many parts not to train: the embeddings and the spatial prior, then each interaction with its
                blocks; the last one includes the output layers.
            activation_checkpointing: recompute blocks, injectors and extractors in the backward pass to save memory.

        Raises:
            ValueError: if arguments do not fit one another or `out_features` names no map.
        """
        super().__init__(
            channels=[embed_dim] * len(STRIDES),
            strides=STRIDES,
            out_features=out_features,
            activation_checkpointing=activation_checkpointing,
        )
        _check_arguments(depth, interaction_indexes, windows, pretrain_size, add_vit_features)
        self.interaction_indexes = [(first, last) for first, last in interaction_indexes]
        self.pretrain_grid = (pretrain_size // PATCH_SIZE, pretrain_size // PATCH_SIZE)
        self.add_vit_features = add_vit_features
        self.patch_embed = PatchEmbed(img_size=None, patch_size=PATCH_SIZE, embed_dim=embed_dim, output_fmt="NHWC")
        # The first position is the class token's, which published tables have and this network does not use.
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.pretrain_grid[0] * self.pretrain_grid[1], embed_dim))
        self.level_embed = nn.Parameter(torch.empty(PYRAMID_LEVELS, embed_dim))
        self.spm = SpatialPrior(width=prior_width, dim=embed_dim, finest="res2" in self._out_features)
        rates = calculate_drop_path_rates(drop_path_rate, depth)
        blocks = [
            ViTBlock(dim=embed_dim, heads=num_heads, mlp_ratio=mlp_ratio, window=window, drop_path=rate)
            for window, rate in zip(windows or [0] * depth, rates, strict=True)
        ]
        self.blocks = nn.ModuleList(blocks)
        last = len(interaction_indexes) - 1
        interactions = [
            Interaction(
                dim=embed_dim,
                heads=deform_num_heads,
                points=points,
                value_ratio=deform_ratio,
                ffn_hidden=int(embed_dim * conv_ffn_ratio),
                drop_path=drop_path_rate,
                extra_extractors=EXTRA_EXTRACTORS if extra_extractors and i == last else 0,
            )
            for i in range(last + 1)
        ]
        self.interactions = nn.ModuleList(interactions)
        self.up = nn.ConvTranspose2d(embed_dim, embed_dim, 2, stride=2) if "res2" in self._out_features else None
        for name in self._out_features:
            self.add_module(_norm_name(name), nn.BatchNorm2d(embed_dim))
        self._init_weights()
        self.freeze(freeze_at)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Read what `SizedBackbone.from_config` reads.

        Raises:
            ValueError: besides, if the cost volume of CAT-Seg, whose cells are 16 pixels, asks for images whose sides
                are no multiples of 32.
        """
        grid = cfg.MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION
        if cfg.MODEL.META_ARCHITECTURE == "CATSeg" and any(cells % (STRIDES[-1] // PATCH_SIZE) for cells in grid):
            raise InputError(
                f"with {cls.__name__}, MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION must be even, got {list(grid)}: images "
                f"need sides that are multiples of {STRIDES[-1]} pixels, and each cell is {PATCH_SIZE}"
            )
        return super().from_config(cfg, input_shape)

    @property
    def size_divisibility(self) -> int:
        """Number of pixels that image sides must be multiples of."""
        return STRIDES[-1]

    def stage_modules(self) -> list[list[nn.Module | nn.Parameter]]:
        """The embeddings and the spatial prior; each interaction with its blocks; the output layers with the last."""
        parts: list[list[nn.Module | nn.Parameter]] = [
            [self.patch_embed, self.pos_embed, self.level_embed, self.spm],
            *(
                [interaction, *self.blocks[first : last + 1]]
                for interaction, (first, last) in zip(self.interactions, self.interaction_indexes, strict=True)
            ),
        ]
        parts[-1] += [self.get_submodule(_norm_name(name)) for name in self._out_features]
        if self.up is not None:
            parts[-1].append(self.up)
        return parts

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the maps.

        Args:
            images: `(B, 3, H, W)`, normalised; H and W are multiples of 32.

        Returns:
            `{"res2": (B, C, H / 4, W / 4), ...}` for `out_features`.

        Raises:
            ValueError: if a side is not a multiple of 32.
        """
        _check_size(images, self.size_divisibility)
        finest, levels = self.spm(images)
        pyramid = join_levels([x + embed.view(-1, 1, 1) for x, embed in zip(levels, self.level_embed, strict=True)])
        tokens = self.patch_embed(images)
        layout = Layout.of(tokens.shape[1:3], images.device)
        tokens = tokens + self._positions(layout.token_grid)
        features = []
        for interaction, (first, last) in zip(
            cast(Iterable[Interaction], self.interactions), self.interaction_indexes, strict=True
        ):
            tokens = self.run(interaction.injector, tokens, pyramid, layout)
            for block in self.blocks[first : last + 1]:
                tokens = self.run(block, tokens)
            for extractor in (interaction.extractor, *interaction.extra_extractors):
                pyramid = self.run(extractor, pyramid, tokens, layout)
            features.append(tokens)
        return self._maps(finest, layout.split(pyramid), features)

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """Position embeddings `(h, w, C)` for `grid` tokens."""
        return resize_position_embedding(self.pos_embed[0], self.pretrain_grid, grid)[1:].unflatten(0, grid)

    def _maps(self, finest: Tensor | None, levels: list[Tensor], features: list[Tensor]) -> dict[str, Tensor]:
        """The output maps, made of the spatial prior's at stride 4, the pyramid's, and the ViT's `(B, h, w, C)`."""
        maps = dict(zip(("res3", "res4", "res5"), levels, strict=True))
        if self.up is not None:
            maps["res2"] = self.up(levels[0]) + finest
        out: dict[str, Tensor] = {}
        for i, name in enumerate(self._out_feature_strides):
            if name not in self._out_features:
                continue
            x = maps[name]
            if self.add_vit_features:
                feature = features[i].permute(0, 3, 1, 2)
                x = x + F.interpolate(feature, size=x.shape[2:], mode="bilinear", align_corners=False)
            out[name] = self.get_submodule(_norm_name(name))(x)
        return out

    def _init_weights(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.level_embed)
        self.apply(init_linear)
        self.apply(init_conv)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.reset_parameters()


def _norm_name(map_name: str) -> str:
    """Name of a map's output norm: the authors count the maps from 1."""
    return f"norm{int(map_name.removeprefix('res')) - 1}"


def _check_size(images: Tensor, divisor: int) -> None:
    height, width = images.shape[2:]
    if height % divisor or width % divisor:
        raise InputError(
            f"ViTAdapter takes images whose sides are multiples of {divisor} pixels, got {height} x {width}: "
            "pad or resize them"
        )


def _check_arguments(
    depth: int,
    interaction_indexes: Sequence[Sequence[int]],
    windows: Sequence[int],
    pretrain_size: int,
    add_vit_features: bool,
) -> None:
    if not interaction_indexes or any(not 0 <= first <= last < depth for first, last in interaction_indexes):
        raise InputError(
            f"interaction_indexes must be pairs of first and last block among {depth}, got {list(interaction_indexes)}"
        )
    if add_vit_features and len(interaction_indexes) != len(STRIDES):
        raise InputError(
            f"add_vit_features needs {len(STRIDES)} interactions, one per map, got {len(interaction_indexes)}"
        )
    if windows and len(windows) != depth:
        raise InputError(f"windows must have one entry for each of {depth} blocks, got {len(windows)}")
    if pretrain_size % PATCH_SIZE:
        raise InputError(f"pretrain_size must be a multiple of {PATCH_SIZE}, got {pretrain_size}")
