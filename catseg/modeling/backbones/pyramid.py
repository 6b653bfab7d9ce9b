"""What every backbone of the project shares: named maps at Detectron2's names and strides, freezing, sizes by name."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from catseg.config_checks import check_at_least, check_share
from catseg.errors import InputError
from catseg.modeling.layers.running_statistics import FrozenStatistics, update_statistics_once


class PyramidBackbone(FrozenStatistics, Backbone):
    """A backbone whose stage i gives the map `res{i + 2}`, of stride `strides[i]` and `channels[i]` channels.

    Subclasses implement `forward`, which maps images `(B, 3, H, W)` to `{name: (B, channels, H / stride, W / stride)}`
    for the names in `out_features`, and `stage_modules`. They build `num_stages` stages: parameters beyond the last map
    that is wanted would get no gradient, which training on several GPUs does not allow.

    Attributes:
        num_stages: number of stages up to the last map that is wanted.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        strides: Sequence[int],
        out_features: Sequence[str],
        activation_checkpointing: bool = False,
    ) -> None:
        """Declare the maps.

        Args:
            channels: width of each stage's map.
            strides: pixels per cell of each stage's map.
            out_features: which maps to return.
            activation_checkpointing: recompute what goes through `run` in the backward pass, to save memory.

        Raises:
            ValueError: if `out_features` is empty or names a map that no stage gives.
        """
        super().__init__()
        names = [f"res{i + 2}" for i in range(len(channels))]
        if not out_features or any(name not in names for name in out_features):
            raise InputError(f"OUT_FEATURES must name some of {names}, got {list(out_features)}")
        self.activation_checkpointing = activation_checkpointing
        if activation_checkpointing:
            self.register_forward_pre_hook(update_statistics_once)
        self._out_features = [name for name in names if name in out_features]
        self.num_stages = 1 + names.index(self._out_features[-1])
        self._out_feature_channels = dict(zip(names, channels, strict=True))
        self._out_feature_strides = dict(zip(names, strides, strict=True))

    def stage_modules(self) -> list[list[nn.Module | nn.Parameter]]:
        """The modules and bare parameters of the stem, then those of each stage."""
        raise NotImplementedError

    def freeze(self, freeze_at: int) -> None:
        """Stop training of the first `freeze_at` parts, as Detectron2 counts them: the stem is 1, `res2` is 2.

        Raises:
            ValueError: if `freeze_at` is negative.
        """
        check_at_least(0, {"MODEL.BACKBONE.FREEZE_AT": freeze_at})
        for part in self.stage_modules()[:freeze_at]:
            for item in part:
                item.requires_grad_(False)

    def freeze_as_published(self) -> None:
        """Stop training of what the authors of CAT-Seg never train of this backbone: nothing, but for some."""

    def run(self, block: nn.Module, *inputs: Any) -> Tensor:
        """`block(*inputs)`, recomputed in the backward pass if activation checkpointing is on."""
        if self.activation_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)


class SizedBackbone(PyramidBackbone):
    """A backbone that comes in named sizes: `MODEL.BACKBONE.NAME` chooses the class and `MODEL.BACKBONE.SIZE` the size.

    Attributes:
        sizes: name of a size, as in its paper and in lower case, to the constructor arguments that make it up.
    """

    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Read `MODEL.BACKBONE` and `MODEL.ACTIVATION_CHECKPOINTING`; the maps are those that the head asks for.

        Raises:
            ValueError: if `MODEL.BACKBONE.SIZE` is not one of `sizes`, or `DROP_PATH_RATE` is not a share.
        """
        options = cfg.MODEL.BACKBONE
        check_share({"MODEL.BACKBONE.DROP_PATH_RATE": options.DROP_PATH_RATE})
        if options.SIZE not in cls.sizes:
            raise InputError(
                f"MODEL.BACKBONE.SIZE of {cls.__name__} must be one of {', '.join(cls.sizes)}, got {options.SIZE!r}"
            )
        return {
            **cls.sizes[options.SIZE],
            "drop_path_rate": options.DROP_PATH_RATE,
            "out_features": cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES,
            "freeze_at": options.FREEZE_AT,
            "activation_checkpointing": cfg.MODEL.ACTIVATION_CHECKPOINTING,
        }
