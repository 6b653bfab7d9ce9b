"""Any timm model that gives feature maps, as a backbone."""

import difflib
import inspect
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from timm.models import group_parameters
from torch import Tensor, nn

from catseg.config_checks import check_share
from catseg.errors import InputError
from catseg.modeling.backbones.pyramid import PyramidBackbone

logger = logging.getLogger(__name__)

FINEST_STRIDE = 4  # finer maps, as some convolutional networks have them, are of no use to the head
FEATURES = {"features_only": True, "feature_cls": "getter"}  # a list of maps (B, C, H, W), whatever the model
# Arguments with which timm's transformers take images of other sizes than their own.
ANY_SIZE = {"dynamic_img_size": True, "dynamic_img_pad": True, "strict_img_size": False}


@dataclass(frozen=True)
class TimmModel:
    """Properties of a timm model.

    Attributes:
        channels: width of each map it can give, in the order in which it computes them.
        strides: pixels per cell of each map.
        image_size: height and width of its own images, in pixels.
        any_size: arguments for its constructor that let it take images of other sizes, if it has such.
        has_drop_path: whether it has stochastic depth.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    image_size: tuple[int, int]
    any_size: Mapping[str, bool]
    has_drop_path: bool

    @property
    def multiple(self) -> int:
        """Return the number of pixels that image sides must be multiples of."""
        return math.lcm(*self.strides)

    def pyramid(self, levels: int) -> list[int]:
        """Choose `levels` of its maps, finest first.

        That is the last map of each stride of 4 or more. A model with too few strides, such as a plain transformer,
        gives maps from evenly spread depths instead, if it has enough.
        """
        usable = [i for i, stride in enumerate(self.strides) if stride >= FINEST_STRIDE]
        last = {self.strides[i]: i for i in usable}
        if len(last) >= levels or len(usable) < levels:
            return sorted(last.values())
        return [usable[(k + 1) * len(usable) // levels - 1] for k in range(levels)]


@BACKBONE_REGISTRY.register()
class TimmBackbone(PyramidBackbone):
    """A timm model as a Detectron2 backbone; `MODEL.BACKBONE.SIZE` is timm's name of it.

    Its maps of stride 4, 8, 16 and 32 are `res2` to `res5`. What is special about some models:

    - Where the finest stride above 2 is not 4, `res2` is the map of that stride, `res3` the next one and so on, as
      `output_shape()` tells. The head of CAT-Seg resizes each map to its place; a feature pyramid network may need
      strides that double.
    - Plain transformers have one stride. Of n maps that are asked for, the k-th one is the output of the block at k/n
      of the depth. Again the head resizes; a feature pyramid network cannot use them (`ViTAdapter` is made for that).
    - A model that takes images of one size alone gets the image resized bilinearly to it. Its maps, and those of the
      few models that do not keep to their strides, are resized bilinearly to what the strides promise.

    Other images are padded with zeros at the right and bottom to a multiple of the coarsest stride, and the maps
    cropped. The network sits under its name, so that a checkpoint says which one it is of. Stages beyond the last map
    that is asked for are not built, and what no map depends on is not trained.
    """

    @configurable
    def __init__(
        self,
        *,
        name: str,
        drop_path_rate: float = 0.0,
        out_features: Sequence[str] = ("res2", "res3", "res4"),
        freeze_at: int = 0,
        activation_checkpointing: bool = False,
    ) -> None:
        """Build the network with random weights.

        Args:
            name: timm's name of the model, with or without the tag of its weights.
            drop_path_rate: stochastic depth of the last block, in the models that have it.
            out_features: which of `res2`, `res3`, ... to return.
            freeze_at: how many parts not to train, as timm divides the model: the stem is 1, then come its stages, or
                its blocks if it has no stages.
            activation_checkpointing: recompute blocks in the backward pass to save memory.

        Raises:
            ValueError: if timm has no such model or cannot build it, `out_features` names no map of it, or it supports
                no freezing or checkpointing and that is asked for.
        """
        model = describe(name)
        levels = max((int(key[3:]) - 1 for key in out_features if re.fullmatch(r"res[2-9]", key)), default=1)
        pyramid = model.pyramid(levels)
        super().__init__(
            channels=[model.channels[i] for i in pyramid],
            strides=[model.strides[i] for i in pyramid],
            out_features=out_features,
            activation_checkpointing=activation_checkpointing,
        )
        options: dict[str, Any] = dict(model.any_size)
        if model.has_drop_path:
            options["drop_path_rate"] = drop_path_rate
        elif drop_path_rate:
            logger.warning("timm's %s has no stochastic depth: DROP_PATH_RATE is ignored", name)
        options["out_indices"] = [pyramid[int(key.removeprefix("res")) - 2] for key in self._out_features]
        takes_any_size, unused = _probe(name, options, size=model.image_size, multiple=model.multiple)
        self.image_size = None if takes_any_size else model.image_size
        self.multiple = model.multiple
        self.model_name = name.partition(".")[0]
        network = _build(name, **FEATURES, **options)
        self.add_module(self.model_name, network)
        for key in unused:
            network.get_parameter(key).requires_grad_(False)
        if activation_checkpointing:
            self._checkpoint_blocks()
        if freeze_at:
            self.freeze(freeze_at)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Read `MODEL.BACKBONE` and `MODEL.ACTIVATION_CHECKPOINTING`; the maps are those that the head asks for."""
        options = cfg.MODEL.BACKBONE
        check_share({"MODEL.BACKBONE.DROP_PATH_RATE": options.DROP_PATH_RATE})
        _compare_normalisation(options.SIZE, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
        return {
            "name": options.SIZE,
            "drop_path_rate": options.DROP_PATH_RATE,
            "out_features": cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES,
            "freeze_at": options.FREEZE_AT,
            "activation_checkpointing": cfg.MODEL.ACTIVATION_CHECKPOINTING,
        }

    @property
    def network(self) -> Any:
        """The timm model."""
        return self.get_submodule(self.model_name).model

    def stage_modules(self) -> list[list[nn.Module | nn.Parameter]]:
        """The parameters of the parts that timm divides the model into.

        Raises:
            ValueError: if timm does not divide this model.
        """
        try:
            matcher = self.network.group_matcher(coarse=True)
        except (AttributeError, AssertionError) as error:
            raise InputError(
                f"timm does not say what the stages of {self.model_name} are: MODEL.BACKBONE.FREEZE_AT must be 0; "
                "SOLVER.BACKBONE_MULTIPLIER 0 freezes all of it"
            ) from error
        groups = group_parameters(self.network, matcher, return_values=True)
        return [groups[key] for key in sorted(groups)]

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that timm does not decay, but for biases: what the model says, and all vectors."""
        prefix = f"{self.model_name}.model."
        named = {prefix + name for name in getattr(self.network, "no_weight_decay", set)()}
        vectors = {name for name, parameter in self.named_parameters() if parameter.ndim == 1}
        return named | {name for name in vectors if not name.endswith(".bias")}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the maps.

        Args:
            images: `(B, 3, H, W)` of any size, normalised as `MODEL.PIXEL_MEAN` and `MODEL.PIXEL_STD` say; what a
                model was trained with is in its `default_cfg`.

        Returns:
            `{"res2": (B, C, ceil(H / stride), ceil(W / stride)), ...}` for `out_features`.
        """
        height, width = images.shape[2:]
        if self.image_size is None:
            images = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple))
            grid = images.shape[2:]
        else:
            images, grid = _resize(images, self.image_size), images.shape[2:]
        maps = {}
        for name, feature in zip(self._out_features, self.get_submodule(self.model_name)(images), strict=True):
            stride = self._out_feature_strides[name]
            full = _resize(feature, (-(-grid[0] // stride), -(-grid[1] // stride)))
            maps[name] = full[:, :, : -(-height // stride), : -(-width // stride)]
        return maps

    def _checkpoint_blocks(self) -> None:
        try:
            self.network.set_grad_checkpointing(True)
        except AssertionError as error:
            raise InputError(
                f"timm's {self.model_name} cannot recompute activations: MODEL.ACTIVATION_CHECKPOINTING must be False"
            ) from error


def describe(name: str, *, key: str = "MODEL.BACKBONE.SIZE of TimmBackbone") -> TimmModel:
    """Find out what a timm model is like, by building it without weights.

    Args:
        name: timm's name of it, with or without the tag of its weights.
        key: what names it, for the error.

    Raises:
        ValueError: if timm has no such model or cannot build it.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "timm.list_models() lists them"
        raise InputError(f"{key} must be timm's name of a model, got {name!r}; {hint}")
    with torch.device("meta"):
        model = _build(name)
    arguments = inspect.signature(type(model).__init__).parameters
    maps = getattr(model.feature_info, "info", model.feature_info)
    return TimmModel(
        channels=tuple(info["num_chs"] for info in maps),
        strides=tuple(info["reduction"] for info in maps),
        image_size=tuple(model.pretrained_cfg["input_size"][1:]),
        any_size={key: value for key, value in ANY_SIZE.items() if key in arguments},
        has_drop_path="drop_path_rate" in arguments,
    )


def _build(name: str, **options: Any) -> Any:
    try:
        return timm.create_model(name, pretrained=False, **options)
    except RuntimeError as error:
        raise InputError(f"timm cannot build {name} as a backbone: {error}") from error


def _probe(name: str, options: Mapping[str, Any], *, size: tuple[int, int], multiple: int) -> tuple[bool, list[str]]:
    """Run a model without weights, to see if it takes images larger than `size` and which parameters it does not use.

    Returns:
        Whether its maps grow with the image, and the names of parameters that no map depends on.
    """
    larger = [(side // multiple + extra) * multiple for side, extra in zip(size, (2, 3), strict=True)]
    unused: list[str] = []
    with torch.device("meta"), torch.enable_grad():
        network = _build(name, **FEATURES, **options).eval()
        try:
            own = network(torch.empty(1, 3, *size))
            sum(feature.float().sum() for feature in own).backward()
            unused = [key for key, parameter in network.named_parameters() if parameter.grad is None]
            maps = network(torch.empty(1, 3, *larger))
        except Exception as error:  # whatever it is that a model raises at a size it is not made for
            reason = (str(error) or repr(error)).splitlines()[0]
            takes_any_size = False
        else:
            reason = "its maps do not grow with the image"
            takes_any_size = all(new.shape[3] > old.shape[3] for new, old in zip(maps, own, strict=True))
    if not takes_any_size:
        height, width = size
        logger.warning(
            "timm's %s takes images of %d x %d alone, to which all are resized: %s", name, height, width, reason
        )
    return takes_any_size, unused


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _compare_normalisation(name: str, mean: Sequence[float], std: Sequence[float]) -> None:
    """Warn if images are not normalised as in timm's training of the model."""
    try:
        pretrained = timm.get_pretrained_cfg(name)
    except RuntimeError:  # of a tag that does not exist; the constructor says so
        return
    if pretrained is None:
        return
    for key, ours, theirs in (("PIXEL_MEAN", mean, pretrained.mean), ("PIXEL_STD", std, pretrained.std)):
        expected = [round(255 * value, 3) for value in theirs]
        if any(abs(one - other) > 1 for one, other in zip(ours, expected, strict=True)):
            logger.warning("timm's weights of %s expect MODEL.%s %s, it is %s", name, key, expected, list(ours))
