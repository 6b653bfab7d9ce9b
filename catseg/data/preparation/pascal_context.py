"""PASCAL-Context: label maps of its 59 frequent and of all its 459 classes."""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle
from scipy.io import loadmat

from catseg.data.dataset_specs import DatasetSpec
from catseg.data.preparation.jobs import Job, Made, check_size, is_file_name, read_names
from catseg.errors import InputError

logger = logging.getLogger(__name__)

_FOLDER = "VOCdevkit/VOC2010"
# Category numbers of trainval_merged.json: the background, then class k of the 59 as the (k + 1)-th.
_CATEGORIES = (
    *(0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158),
    *(159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366),
    *(368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)
_MAX_LABEL = 460  # of the .mat files, which count from 1


@dataclass(frozen=True, kw_only=True)
class ContextAnnotations:
    """The recipe of PASCAL-Context 59: run-length coded regions, all in one file, painted one over the other.

    Attributes:
        ignore_label: of the data set.
    """

    ignore_label: int

    def find(self, spec: DatasetSpec, root: Path) -> list[Job]:
        """List all jobs of a split, as `Recipe` describes."""
        images, regions = _read_annotations(root / _FOLDER / "trainval_merged.json", phase=spec.split)
        return [
            Job(
                name=name,
                image=root / spec.image_dir / f"{name}.{spec.image_extension}",
                labels=None,
                annotations=regions[number],
                target=root / spec.label_dir / f"{name}.{spec.label_extension}",
            )
            for number, name in images.items()
        ]

    def make(self, job: Job) -> Made:
        """Do a job, as `Recipe` describes."""
        if not job.annotations:
            raise InputError("trainval_merged.json has no annotation of it")
        class_of_category = {category: index for index, category in enumerate(_CATEGORIES[1:])}
        labels = np.full(job.annotations[0][1]["size"], self.ignore_label, dtype=np.int64)
        check_size(job, labels)
        for category, region in job.annotations:
            labels[rle.decode(region) > 0] = class_of_category.get(category, self.ignore_label)
        return Made(labels)


class ContextLabelMaps:
    """The recipe of PASCAL-Context 459: a .mat file per image."""

    def find(self, spec: DatasetSpec, root: Path) -> list[Job]:
        """List all jobs of a split, as `Recipe` describes."""
        folder = root / _FOLDER
        _compare_class_names(folder / "labels.txt", spec.classes)
        return [
            Job(
                name=name,
                image=root / spec.image_dir / f"{name}.{spec.image_extension}",
                labels=root / spec.source_label_dir / f"{name}.mat",
                target=root / spec.label_dir / f"{name}.{spec.label_extension}",
            )
            for name in read_names(folder / "pascalcontext_val.txt")
        ]

    def make(self, job: Job) -> Made:
        """Do a job, as `Recipe` describes."""
        try:
            values = loadmat(str(job.labels), variable_names=["LabelMap"])["LabelMap"].astype(np.int64)
        except Exception as error:  # damaged files raise exceptions of many kinds
            raise InputError(f"{job.labels} cannot be read, it may be damaged: {error!r}") from error
        check_size(job, values)
        if values.min() < 1 or values.max() > _MAX_LABEL:
            raise InputError(f"{job.labels} has the values {values.min()}..{values.max()}, labels are 1..{_MAX_LABEL}")
        return Made(values - 1)


def _read_annotations(path: Path, *, phase: str) -> tuple[dict[Any, str], dict[Any, list[tuple[int, dict[str, Any]]]]]:
    """Read the images of a split, name by number, and their regions, category and run lengths by number of the image.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or does not hold what it should.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the file {path} is missing")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {image["image_id"]: str(image["file_name"]) for image in content["images"] if image["phase"] == phase}
        regions = defaultdict(list)
        for region in content["annos_segmentation"]:
            if region["image_id"] in images:
                regions[region["image_id"]].append((int(region["category_id"]), region["segmentation"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged, or has another structure than expected: {error!r}") from error
    wrong = [name for name in images.values() if not is_file_name(name)]
    if wrong:
        raise InputError(f"{path} names an image {wrong[0][:80]!r}, which is no file name")
    return {number: Path(name).stem for number, name in images.items()}, regions


def _compare_class_names(path: Path, classes: Sequence[str]) -> None:
    """Warn if labels.txt, `1: accordion` and so on, names other classes than the benchmark, spelling aside."""
    if not path.is_file():
        return
    found = dict(re.findall(r"^\s*(\d+)\s*:\s*(.*?)\s*$", path.read_text(encoding="utf-8", errors="replace"), re.M))
    letters = lambda name: re.sub(r"\W|_", "", name).lower()
    for number, name in enumerate(classes, 1):
        other = found.get(str(number), "")
        if letters(other) != letters(name):
            logger.warning(
                "%s calls label %d %r, in the benchmark it is %r: are these its label maps?", path, number, other, name
            )
            return
