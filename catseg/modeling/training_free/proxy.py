"""A timm model whose features say which places of an image are alike: the proxy of ProxyCLIP (arXiv 2408.04883)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from catseg.errors import InputError, RunError
from catseg.modeling.backbones.timm_backbone import describe
from catseg.modeling.layers.images import ImageInput
from catseg.weight_files.reader import read_checkpoint

FROM_TIMM = "timm"
_SECTION = "MODEL.TRAINING_FREE."


class Proxy(nn.Module):
    """The last features of a timm model, after its last norm, on the grid of its patches; DINO's, for example.

    Attributes:
        input: normalises and resizes crops for the model.
    """

    def __init__(
        self, *, name: str, weights: str, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        """Build the model.

        Args:
            name: timm's name of it, with the tag of its weights: "vit_base_patch8_224.dino".
            weights: "timm" for those of the tag, downloaded when first used; "" for random ones; or the path of a file
                of weights without a classifier.
            size: rows and columns of pixels at which it sees crops, rounded to whole patches. A model that takes its
                own size alone sees them at that.
            mean: of the images that it was trained with, RGB, 0..255.
            std: likewise.

        Raises:
            FileNotFoundError: if `weights` is the path of no file.
            ValueError: if timm has no such model, or the weights do not fit.
            RuntimeError: if the weights cannot be downloaded.
        """
        super().__init__()
        model = describe(name, key=f"{_SECTION}PROXY")
        step = model.strides[-1]
        rows, columns = (max(1, round(side / step)) * step for side in size)
        self.input = ImageInput(mean=mean, std=std, size=(rows, columns) if model.any_size else model.image_size)
        self.network = _build(name, weights, **model.any_size)

    def forward(self, crops: Tensor) -> Tensor:
        """Compute the features of RGB crops `(B, 3, h, w)`, 0..255: `(B, C, P, Q)`."""
        (features,) = self.network.forward_intermediates(
            self.input(crops), indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return features


def _build(name: str, weights: str, **options: Any) -> Any:
    if weights in ("", FROM_TIMM):
        try:
            return timm.create_model(name, pretrained=bool(weights), num_classes=0, **options)
        except Exception as error:  # whatever the hub client or urllib raises without network
            raise RunError(
                f"the weights of timm's {name} could not be downloaded: {error}\nWithout network: get them on another "
                f"machine, copy them here and give the file's path as {_SECTION}PROXY_WEIGHTS."
            ) from error
    path = Path(weights).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"{_SECTION}PROXY_WEIGHTS names {path}, which is not a file: expected {FROM_TIMM!r}, '' (random) or a file"
        )
    source = {"state_dict": dict(read_checkpoint(path)["model"]), "num_classes": 0}
    try:
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=source, num_classes=0, **options)
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{path} ({_SECTION}PROXY_WEIGHTS) does not fit timm's {name}: {error}") from error
