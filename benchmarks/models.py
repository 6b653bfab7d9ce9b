"""Models and inputs for benchmarks, the same in every process."""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor

from catseg.build import build_model
from catseg.config import load_config
from catseg.modeling.meta_arch import CATSeg
from catseg.parity.case import fill

RANDOM_WEIGHTS = ("MODEL.WEIGHTS", "", "MODEL.CLIP.WEIGHTS", "", "MODEL.DEVICE", "cpu")


class GivenText:
    """Stands in for a text encoder: gives random text features, one direction per class, at once.

    Args:
        templates: prompt templates P.
        dim: width C of the features.
    """

    def __init__(self, templates: Sequence[str], dim: int) -> None:
        self.templates = templates
        self._dim = dim
        self._features: dict[int, Tensor] = {}

    def encode(self, names: Sequence[str]) -> Tensor:
        """L2-normalised features `(T, P, C)`, the same for the same number of names."""
        count = len(names)
        if count not in self._features:
            random = torch.Generator().manual_seed(count)
            classes = torch.randn(count, 1, self._dim, generator=random)
            templates = torch.randn(count, len(self.templates), self._dim, generator=random)
            self._features = {count: F.normalize(classes + 0.5 * templates, dim=-1)}
        return self._features[count]


def load_model(config: str, options: Sequence[str], *, given_text: bool) -> tuple[CfgNode, CATSeg]:
    """Build the model of a config on the CPU, in evaluation mode.

    Args:
        config: a config file.
        options: overrides as a flat list. Without `MODEL.WEIGHTS` the weights are random, and of a size that keeps
            every part of the network at work.
        given_text: replace the text encoder by random text features.

    Returns:
        The config and the model.
    """
    cfg = load_config(config, [*RANDOM_WEIGHTS, *options])
    torch.manual_seed(0)
    model = cast(CATSeg, build_model(cfg, cfg.MODEL.WEIGHTS)[0])
    if not cfg.MODEL.WEIGHTS:
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if tensor.is_floating_point():
                    tensor.copy_(fill(name, tuple(tensor.shape)))
    if given_text:
        given: Any = GivenText(model.text_encoder.templates, model.clip.visual.output_dim)
        model.text_encoder = given
    return cfg, model.eval()


def random_image(height: int, width: int) -> Tensor:
    """An image `(3, height, width)`, uint8: noise at several scales, so that neighbours resemble each other."""
    random = torch.Generator().manual_seed(0)
    image = torch.zeros(1, 3, height, width)
    for cells in (2, 6, 20):
        noise = torch.rand(1, 3, cells, cells, generator=random)
        image += F.interpolate(noise, size=(height, width), mode="bilinear", align_corners=False) / 3
    return (255 * image[0]).to(torch.uint8)
