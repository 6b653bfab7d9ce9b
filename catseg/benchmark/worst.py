"""The images on which a model does worst, found while it is evaluated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.utils import comm
from numpy.typing import NDArray

from catseg.evaluation.confusion import confusion_matrix, scores
from catseg.image_io import read_image
from catseg.visualization import palette, save_image
from catseg.visualization.palette import IGNORED_COLOR

_SIDE = 256  # longer side of a panel, in pixels
_GAP = 6  # between panels, in pixels
_SHOWN_CLASSES = 6
_TINT = 0.8  # how much of a class's colour is seen over its image


@dataclass(frozen=True, eq=False)
class ScoredImage:
    """One evaluated image.

    Attributes:
        iou: mean IoU in percent over the classes of its ground truth.
        file_name: of the image.
        upright: whether the image is turned as its EXIF orientation says.
        truth: classes or the ignored label, uint16, (H, W).
        predicted: classes, uint16, (H, W).
    """

    iou: float
    file_name: str
    upright: bool
    truth: NDArray[np.uint16]
    predicted: NDArray[np.uint16]


class WorstImages:
    """Keeps the images with the lowest mean IoU; what `SemSegEvaluator` calls for each image.

    Args:
        limit: how many are kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: list[ScoredImage] = []

    def __call__(
        self,
        sample: Mapping[str, Any],
        truth: NDArray[np.int64],
        predicted: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> None:
        """Look at one image; those without any ground truth are left out."""
        if not counts.any():
            return
        iou = scores(counts, [str(index) for index in range(len(counts))])["mIoU"]
        if len(self._kept) == self.limit and iou >= self._kept[-1].iou:
            return
        scored = ScoredImage(
            iou,
            str(sample["file_name"]),
            sample.get("upright", True),
            truth.astype(np.uint16),
            predicted.astype(np.uint16),
        )
        self._kept = _lowest([*self._kept, scored], self.limit)

    def gather(self) -> list[ScoredImage]:
        """Return the worst images of all processes, worst first; empty in all but the main process."""
        return _lowest([scored for kept in comm.gather(self._kept) for scored in kept], self.limit)


def draw_worst(
    folder: Path, images: Sequence[ScoredImage], names: Sequence[str], ignore_label: int
) -> list[dict[str, Any]]:
    """Draw each image, its ground truth and its prediction beside one another, and describe it.

    Args:
        folder: is made if needed.
        images: of `WorstImages.gather`.
        names: of the classes.
        ignore_label: value of pixels without ground truth.

    Returns:
        Plain values: `name` and `iou` of each image; `file`, in `folder`; `classes`, those that cover most of it in
        truth or prediction, each with `name`, `color` (RGB), `iou` (None if it is not in the ground truth), and the
        shares of the labelled pixels, `truth` and `predicted`, 0..1.
    """
    described = []
    for place, scored in enumerate(images):
        file = f"worst_{place}.webp"
        save_image(folder / file, _draw(scored, len(names)))
        described.append(
            {
                "name": Path(scored.file_name).name,
                "iou": scored.iou,
                "file": file,
                "classes": _describe_classes(scored, names, ignore_label),
            }
        )
    return described


def _lowest(images: Sequence[ScoredImage], limit: int) -> list[ScoredImage]:
    return sorted(images, key=lambda scored: (scored.iou, scored.file_name))[:limit]


def _draw(scored: ScoredImage, num_classes: int) -> NDArray[np.uint8]:
    image = read_image(scored.file_name, upright=scored.upright)
    scale = _SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    colors = np.concatenate([palette(num_classes), np.array([IGNORED_COLOR], dtype=np.uint8)])
    panels = [image]
    for labels in (scored.truth, scored.predicted):
        shown = cv2.resize(np.minimum(labels, num_classes), size, interpolation=cv2.INTER_NEAREST)
        panels.append(cv2.addWeighted(colors[shown], _TINT, image, 1 - _TINT, 0))
    gap = np.full((size[1], _GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)


def _describe_classes(scored: ScoredImage, names: Sequence[str], ignore_label: int) -> list[dict[str, Any]]:
    counts = confusion_matrix(scored.truth, scored.predicted, num_classes=len(names), ignore_label=ignore_label)
    true, predicted, hits = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    total = true.sum()
    order = np.argsort(-np.maximum(true, predicted), kind="stable")[:_SHOWN_CLASSES]
    colors = palette(len(names))
    return [
        {
            "name": names[index],
            "color": colors[index].tolist(),
            "iou": 100 * float(hits[index] / (true[index] + predicted[index] - hits[index])) if true[index] else None,
            "truth": float(true[index] / total),
            "predicted": float(predicted[index] / total),
        }
        for index in order
        if true[index] or predicted[index]
    ]
