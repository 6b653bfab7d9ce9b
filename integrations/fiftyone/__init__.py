"""A source of FiftyOne zoo models that segment images into any classes: docs/labelling_tools.md.

model = foz.load_zoo_model("catseg/v2-large", classes=dataset.default_classes)
dataset.apply_model(model, label_field="catseg")
dataset.mask_targets["catseg"] = model.mask_targets
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone.core.models import Model

import catseg

_PREFIX = "catseg/"


@dataclass
class Settings:
    """What FiftyOne may change for a call.

    Attributes:
        confidence_thresh: probability that a pixel needs.
        min_pixels: smaller regions are left out, and smaller holes filled.
    """

    confidence_thresh: float
    min_pixels: int


class CATSegZooModel(Model):
    """Gives semantic segmentations: 0 where there is nothing, and the classes from 1 on, in `mask_targets`."""

    media_type = "image"
    ragged_batches = False
    transforms = None
    preprocess = False

    def __init__(self, model: catseg.CATSegModel, classes: Sequence[str | tuple[str, ...]] | None, config: Settings):
        """Encode the classes.

        Args:
            model: what finds them.
            classes: of the data set, each a name, "cat | kitten" or ("cat", "kitten"); None for the model's own.
            config: becomes an attribute.

        Raises:
            ValueError: if there are no classes, or they cannot be used.
        """
        chosen = model.classes if classes is None else classes
        if chosen is None:
            raise ValueError('no classes to look for: give some, such as classes=["sofa", "cat | kitten"]')
        self.model, self.classes, self.config = model, catseg.load_vocabulary(chosen), config
        model.encode_classes(self.classes)
        self.mask_targets = dict(enumerate(self.classes.short_names, start=1))

    def predict(self, arg: np.ndarray) -> fo.Segmentation:
        """Return the classes of an image, RGB, uint8, (H, W, 3)."""
        return self.predict_all([arg])[0]

    def predict_all(self, args: Iterable[np.ndarray]) -> list[fo.Segmentation]:
        """Return the classes of images that share batches.

        Raises:
            ValueError: if one of them cannot be used.
        """
        images = list(args)
        results = self.model.segment(
            iter(images),
            self.classes,
            threshold=self.config.confidence_thresh,
            batch=max(1, len(images)),
            keep_probabilities=False,
            on_error="raise",
        )
        return [self._segmentation(result) for result in results]

    def _segmentation(self, result: catseg.Result) -> fo.Segmentation:
        mask = np.zeros(result.labels.shape, np.uint8 if len(result.names) < 256 else np.uint16)
        for shape in result.shapes(min_pixels=self.config.min_pixels):
            mask[shape.mask] = shape.index + 1
        return fo.Segmentation(mask=mask)


def download_model(model_name: str, model_path: str) -> None:
    """Put config and weights into the zoo's folder; the download is checked, and kept in catseg's cache as well.

    Args:
        model_name: of the manifest, "catseg/" and a name of `catseg.models()`.
        model_path: the folder to make.

    Raises:
        FileNotFoundError: if the weights cannot be downloaded.
    """
    partial = Path(f"{model_path}.part")
    catseg.load(model_name.removeprefix(_PREFIX), device="cpu").save_pretrained(partial)
    partial.replace(model_path)


def load_model(
    model_name: str,  # noqa: ARG001  # FiftyOne fixes the arguments
    model_path: str,
    classes: Sequence[str | tuple[str, ...]] | None = None,
    *,
    device: str | None = None,
    confidence_thresh: float = 0.5,
    min_pixels: int = 0,
    **options: Any,
) -> CATSegZooModel:
    """Load the model from the zoo's folder.

    Args:
        model_name: of the manifest.
        model_path: the folder that `download_model` made.
        classes: to look for; see `CATSegZooModel`.
        device: as torch names it; by default a GPU where there is one.
        confidence_thresh: see `Settings`.
        min_pixels: see there.
        options: further keywords of `catseg.load`.

    Raises:
        FileNotFoundError, ValueError: as `catseg.load`; or if the classes cannot be used.
    """
    model = catseg.load(model_path, device=device, **options)
    return CATSegZooModel(model, classes, Settings(confidence_thresh, min_pixels))
