"""The images on which a model does best and worst, found while it is evaluated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.utils import comm
from numpy.typing import NDArray

from catseg.evaluation.confusion import mean_iou
from catseg.image_io import read_image
from catseg.visualization import palette, save_image
from catseg.visualization.palette import IGNORED_COLOR

_SIDE = 256  # longer side of a panel, in pixels
_GAP = 6  # between panels, in pixels
_SHOWN_CLASSES = 6
_TINT = 0.8  # how much of a class's colour is seen over its image


@dataclass(frozen=True, eq=False)
class ScoredImage:
    """One evaluated image. Its label maps are kept in the size in which they are drawn.

    Attributes:
        iou: mean IoU in percent over the classes of its ground truth.
        file_name: of the image.
        upright: whether the image is turned as its EXIF orientation says.
        truth: classes or the ignored label, uint16, (h, w).
        predicted: classes, uint16, (h, w).
        classes: index of each class that covers most of it, in truth or prediction, to its pixels: in the truth, in the
            prediction, and in both.
        pixels: with a ground truth.
    """

    iou: float
    file_name: str
    upright: bool
    truth: NDArray[np.uint16]
    predicted: NDArray[np.uint16]
    classes: Mapping[int, tuple[int, int, int]]
    pixels: int


class RankedImages:
    """Keeps the images with the lowest and highest mean IoU; what `SemSegEvaluator` calls for each image.

    Args:
        worst: how many of the lowest are kept.
        best: how many of the highest are kept.
    """

    def __init__(self, *, worst: int, best: int = 0) -> None:
        self._limits = {"worst": worst, "best": best}
        self._kept: dict[str, list[ScoredImage]] = {"worst": [], "best": []}

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
        iou, name = mean_iou(counts), str(sample["file_name"])
        ends = [kind for kind in self._kept if self._belongs(kind, iou)]
        if ends:
            scored = _scored(iou, name, sample.get("upright", True), truth, predicted, counts)
            for kind in ends:
                self._kept[kind] = _ranked(kind, [*self._kept[kind], scored], self._limits[kind])

    def gather(self) -> dict[str, list[ScoredImage]]:
        """Return the images of all processes: "worst", lowest first, and "best", highest first.

        No image is in both: where there are few, each is where it ranks nearer to the end. In all but the main process,
        both are empty.
        """
        gathered = comm.gather(self._kept)
        found = {
            kind: _ranked(kind, (image for kept in gathered for image in kept[kind]), limit)
            for kind, limit in self._limits.items()
        }
        worst, best = found["worst"], found["best"]
        place = {id(image): index for index, image in enumerate(worst)}
        best = [image for index, image in enumerate(best) if index <= place.get(id(image), len(best))]
        taken = {id(image) for image in best}
        return {"worst": [image for image in worst if id(image) not in taken], "best": best}

    def _belongs(self, kind: str, iou: float) -> bool:
        kept, limit = self._kept[kind], self._limits[kind]
        if len(kept) < limit:
            return True
        return limit > 0 and (iou < kept[-1].iou if kind == "worst" else iou > kept[-1].iou)


def draw_images(
    folder: Path, images: Sequence[ScoredImage], names: Sequence[str], *, prefix: str
) -> list[dict[str, Any]]:
    """Draw each image, its ground truth and its prediction beside one another, and describe it.

    Args:
        folder: is made if needed.
        images: of `RankedImages.gather`.
        names: of the classes.
        prefix: of the files' names.

    Returns:
        Plain values: `name` and `iou` of each image; `file`, in `folder`; `classes`, those that cover most of it in
        truth or prediction, each with `name`, `color` (RGB), `iou` (None if it is not in the ground truth), and the
        shares of the labelled pixels, `truth` and `predicted`, 0..1.

    Raises:
        OSError, ValueError: if an image cannot be read any more, or its drawing not be written.
    """
    described = []
    for place, scored in enumerate(images):
        file = f"{prefix}_{place}.webp"
        save_image(folder / file, _draw(scored, len(names)))
        described.append(
            {
                "name": Path(scored.file_name).name,
                "iou": scored.iou,
                "file": file,
                "classes": _describe_classes(scored, names),
            }
        )
    return described


def _ranked(kind: str, images: Iterable[ScoredImage], limit: int) -> list[ScoredImage]:
    sign = 1 if kind == "worst" else -1
    return sorted(images, key=lambda scored: (sign * scored.iou, scored.file_name))[:limit]


def _scored(
    iou: float,
    file_name: str,
    upright: bool,
    truth: NDArray[np.int64],
    predicted: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> ScoredImage:
    in_truth, in_prediction, in_both = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    largest = np.argsort(-np.maximum(in_truth, in_prediction), kind="stable")[:_SHOWN_CLASSES]
    scale = _SIDE / max(truth.shape)
    size = (max(1, round(truth.shape[1] * scale)), max(1, round(truth.shape[0] * scale)))
    small_truth, small_prediction = (
        cv2.resize(labels.astype(np.uint16), size, interpolation=cv2.INTER_NEAREST) for labels in (truth, predicted)
    )
    return ScoredImage(
        iou,
        file_name,
        upright,
        small_truth,
        small_prediction,
        {
            int(index): (int(in_truth[index]), int(in_prediction[index]), int(in_both[index]))
            for index in largest
            if in_truth[index] or in_prediction[index]
        },
        int(counts.sum()),
    )


def _draw(scored: ScoredImage, num_classes: int) -> NDArray[np.uint8]:
    image = read_image(scored.file_name, upright=scored.upright)
    height, width = scored.truth.shape
    shrinks = max(image.shape[:2]) > _SIDE
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    colors = np.concatenate([palette(num_classes), np.array([IGNORED_COLOR], dtype=np.uint8)])
    gap = np.full((height, _GAP, 3), 255, dtype=np.uint8)
    panels = [image]
    for labels in (scored.truth, scored.predicted):
        shown = colors[np.minimum(labels, num_classes)]
        panels += [gap, cv2.addWeighted(shown, _TINT, image, 1 - _TINT, 0)]
    return np.concatenate(panels, axis=1)


def _describe_classes(scored: ScoredImage, names: Sequence[str]) -> list[dict[str, Any]]:
    colors = palette(len(names))
    return [
        {
            "name": names[index],
            "color": colors[index].tolist(),
            "iou": 100 * hits / (true + predicted - hits) if true else None,
            "truth": true / scored.pixels,
            "predicted": predicted / scored.pixels,
        }
        for index, (true, predicted, hits) in scored.classes.items()
    ]
