"""Guidance maps from blocks of CLIP's image encoder, in place of a backbone (CAT-Seg v2)."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from catseg.modeling.clip.loading import vision_sizes

STRIDES = {"res2": 4, "res3": 8, "res4": 16}


class ClipPyramid(nn.Module):
    """Makes guidance maps from what CLIP's image encoder computes anyway, two of them by learned upsamplings.

    `res4` are the dense features, `res3` the tokens after a third of the blocks at twice their resolution, `res2` those
    after two thirds at four times. Strides are in pixels of a crop of 16 for each patch.

    Attributes:
        blocks: the blocks, counted from 0, whose tokens `forward` takes: for `res2`, for `res3`.
    """

    @configurable
    def __init__(self, *, width: int, output_dim: int, layers: int, channels: Sequence[int] = (128, 256)) -> None:
        """Build the upsamplings.

        Args:
            width: of the image encoder.
            output_dim: width of the joint embedding.
            layers: blocks of the image encoder.
            channels: of `res2` and of `res3`.
        """
        super().__init__()
        self.blocks = (max(0, 2 * layers // 3 - 1), max(0, layers // 3 - 1))
        self.upsample_res2 = nn.ConvTranspose2d(width, channels[0], 4, stride=4)
        self.upsample_res3 = nn.ConvTranspose2d(width, channels[1], 2, stride=2)
        self._channels = {"res2": channels[0], "res3": channels[1], "res4": output_dim}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the sizes of `MODEL.CLIP.NAME`."""
        sizes = vision_sizes(cfg.MODEL.CLIP.NAME)
        return {"width": sizes.width, "layers": sizes.layers, "output_dim": sizes.output_dim}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of each map, as Detectron2's backbones do."""
        return {name: ShapeSpec(channels=self._channels[name], stride=stride) for name, stride in STRIDES.items()}

    def forward(self, dense: Tensor, tokens: Sequence[Tensor]) -> dict[str, Tensor]:
        """Make the maps.

        Args:
            dense: dense features `(B, C, H, W)`.
            tokens: the tokens after `blocks`, `(B, D, H, W)` each.

        Returns:
            `res2` `(B, 128, 4 * H, 4 * W)`, `res3` `(B, 256, 2 * H, 2 * W)` and `res4`, which is `dense`.
        """
        for_res2, for_res3 = tokens
        return {"res2": self.upsample_res2(for_res2), "res3": self.upsample_res3(for_res3), "res4": dense}
