"""What every backbone of the project shares: named maps, coarse to fine, as Detectron2 wants them."""

from collections.abc import Iterable, Sequence

from detectron2.modeling import Backbone
from torch import nn


class PyramidBackbone(Backbone):
    """A backbone whose stage i gives the map `res{i + 2}`, of stride `strides[i]` and `channels[i]` channels.

    Subclasses implement `forward`, which maps images `(B, 3, H, W)` to `{name: (B, channels, H / stride, W / stride)}`
    for the names in `out_features`, and `stage_modules`.
    """

    def __init__(self, *, channels: Sequence[int], strides: Sequence[int], out_features: Sequence[str]) -> None:
        """Declare the maps.

        Args:
            channels: width of each stage's map.
            strides: pixels per cell of each stage's map.
            out_features: which maps to return.

        Raises:
            ValueError: if `out_features` names a map that no stage gives.
        """
        super().__init__()
        names = [f"res{i + 2}" for i in range(len(channels))]
        unknown = [name for name in out_features if name not in names]
        if unknown or not out_features:
            raise ValueError(f"OUT_FEATURES must name some of {names}, got {list(out_features)}")
        self._out_features = [name for name in names if name in out_features]
        self._out_feature_channels = dict(zip(names, channels, strict=True))
        self._out_feature_strides = dict(zip(names, strides, strict=True))

    def stage_modules(self) -> list[list[nn.Module]]:
        """The modules of the stem, then those of each stage."""
        raise NotImplementedError

    def freeze(self, freeze_at: int) -> None:
        """Stop training of the first `freeze_at` parts, as Detectron2 counts them: the stem is 1, `res2` is 2."""
        frozen: Iterable[nn.Module] = (module for part in self.stage_modules()[:freeze_at] for module in part)
        for module in frozen:
            module.requires_grad_(False)
