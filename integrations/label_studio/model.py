"""Label Studio ML backend that segments images into the labels of the project: docs/labelling_tools.md.

Settings are environment variables: CATSEG_MODEL, CATSEG_DEVICE, CATSEG_THRESHOLD (a probability), CATSEG_TOLERANCE (of
polygons, in pixels) and CATSEG_MIN_PIXELS (of regions and holes).
"""

import inspect
import logging
import os
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from label_studio_ml.model import LabelStudioMLBase

import catseg

logger = logging.getLogger(__name__)

THRESHOLD = float(os.environ.get("CATSEG_THRESHOLD", "0.5"))
TOLERANCE = float(os.environ.get("CATSEG_TOLERANCE", "2"))
MIN_PIXELS = int(os.environ.get("CATSEG_MIN_PIXELS", "64"))

Words = tuple[str, ...]


class Control(NamedTuple):
    """A `BrushLabels` or `PolygonLabels` of the labelling configuration.

    Attributes:
        from_name: its name.
        to_name: that of its image.
        data: the key of the image in a task's data.
        polygons: whether it takes polygons.
        labels: what annotations call the classes.
        words: the synonyms of each class.
    """

    from_name: str
    to_name: str
    data: str
    polygons: bool
    labels: list[str]
    words: list[Words]


@cache
def load_model() -> catseg.CATSegModel:
    """Load the model once for all projects."""
    return catseg.load(os.environ.get("CATSEG_MODEL", "v2-large"), device=os.environ.get("CATSEG_DEVICE"))


class CATSegBackend(LabelStudioMLBase):
    """Label Studio makes one for each request."""

    def setup(self) -> None:
        """Tell Label Studio which model the predictions are of."""
        self.set("model_version", f"catseg {load_model().name}")

    def predict(self, tasks: list[dict[str, Any]], context: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return a prediction for each task: brush regions, polygons, or both, as the project has them.

        An image that cannot be read gives a prediction without regions, and the log says why.

        Raises:
            ValueError: if the labelling configuration has no labels for the regions of an image, or unusable ones.
        """
        controls = find_controls(self.parsed_label_config)
        for control in controls:
            load_model().encode_classes(control.words)
        return [self._predict_task(task, controls) for task in tasks]

    def _predict_task(self, task: dict[str, Any], controls: list[Control]) -> dict[str, Any]:
        regions: list[dict[str, Any]] = []
        try:
            for data in dict.fromkeys(control.data for control in controls):
                image = load_model().encode(self._local_path(task, data))
                for control in controls:
                    if control.data == data:
                        regions += segment(image, control)
        except (OSError, ValueError, KeyError, FloatingPointError) as error:
            logger.error("task %s: %s", task.get("id"), error)
            regions = []
        score = sum(region["score"] for region in regions) / max(1, len(regions))
        return {"model_version": f"catseg {load_model().name}", "score": score, "result": regions}

    def _local_path(self, task: dict[str, Any], data: str) -> Path:
        """Return a task's image as a file, which Label Studio's own function downloads if need be."""
        # Version 2 needs the task for files in cloud storage, version 1 does not know it.
        takes_task = "task_id" in inspect.signature(self.get_local_path).parameters
        return Path(self.get_local_path(task["data"][data], **({"task_id": task.get("id")} if takes_task else {})))


def segment(image: Any, control: Control) -> list[dict[str, Any]]:
    """Return the regions of an encoded image, as Label Studio's JSON has them."""
    result = load_model().segment(image, control.words, threshold=THRESHOLD, keep_probabilities=False)
    prediction = result.to_label_studio(
        from_name=control.from_name,
        to_name=control.to_name,
        labels=control.labels,
        polygons=control.polygons,
        tolerance=TOLERANCE,
        min_pixels=MIN_PIXELS,
    )
    return list(prediction["result"])


def find_controls(config: dict[str, Any]) -> list[Control]:
    """Return what the parsed labelling configuration has for the regions of images.

    Raises:
        ValueError: if there is none.
    """
    found = [
        Control(name, to_name, image["value"], tag["type"] == "PolygonLabels", *labels_of(tag))
        for name, tag in config.items()
        if tag["type"] in ("BrushLabels", "PolygonLabels") and tag["labels"]
        for to_name, image in zip(tag["to_name"], tag["inputs"], strict=False)  # inputs that are absent are left out
        if image["type"] == "Image" and image.get("value")
    ]
    if not found:
        raise ValueError("the labelling configuration has no BrushLabels or PolygonLabels with labels for an Image")
    return found


def labels_of(tag: dict[str, Any]) -> tuple[list[str], list[Words]]:
    """Return what annotations call the labels of a tag, and the words of each: its value, alias, `predicted_values`."""
    return list(tag["labels"]), [words_of(tag["labels_attrs"][label]) for label in tag["labels"]]


def words_of(label: dict[str, str]) -> Words:
    """Return the synonyms in a label's attributes, each once."""
    words: dict[str, str] = {}
    for text in (label.get(key, "") for key in ("value", "alias", "predicted_values")):
        for word in re.split(r"[|,;]", text):
            words.setdefault(word.strip().casefold(), word.strip())
    return tuple(word for word in words.values() if word)
