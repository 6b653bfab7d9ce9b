"""Checks of own data: what a training would stumble over, or learn wrongly, before it is started."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseg.console import one_line
from catseg.data.formats.dataset import OwnDataset, OwnSample, image_geometry
from catseg.data.formats.detect import read_dataset
from catseg.data.formats.files import how_many
from catseg.data.formats.label_files import IndexLabels
from catseg.data.formats.prepared import default_workers
from catseg.data.parallel import in_processes
from catseg.image_io import read_image
from catseg.label_coverage import LabelCoverage

_MAX_LISTED = 10
_FEW_IMAGES = 3  # below which a class of the training images is worth a warning


@dataclass(frozen=True)
class ClassReport:
    """A class in a split: number of its pixels, their share 0..1 of all labelled pixels, and of images with any."""

    name: str
    pixels: int
    share: float
    images: int


@dataclass(frozen=True)
class SplitReport:
    """What a split holds.

    Attributes:
        images: number of them; those that cannot be read are not counted below.
        sizes: numbers of images by size, "WIDTH x HEIGHT", upright, the most frequent first.
        turned: images with an EXIF orientation that turns them.
        classes: of all classes, in their order.
        ignored: share 0..1 of the pixels that are ignored.
        unlabelled_images: images all of whose pixels are ignored.
    """

    images: int
    sizes: Mapping[str, int]
    turned: int
    classes: Sequence[ClassReport]
    ignored: float
    unlabelled_images: int


@dataclass(frozen=True)
class DataReport:
    """What `check_data` found. `as_json` is of plain values.

    Attributes:
        path: the data set.
        format: of it.
        classes: names.
        ignore_label: value of ignored pixels.
        unlabelled: one sentence on what becomes of pixels that nobody labelled.
        splits: by name.
        duplicates: names of images that are equal, byte for byte or pixel for pixel, group by group.
        problems: what would make training wrong, one line each.
        warnings: what may not be meant, one line each.
        notes: what was decided in reading.
    """

    path: str
    format: str
    classes: Sequence[str]
    ignore_label: int
    unlabelled: str
    splits: Mapping[str, SplitReport]
    duplicates: Sequence[Sequence[str]] = ()
    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Whether training can begin."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """Return all of it as mappings, lists and plain values."""
        return asdict(self) | {"ok": self.ok}


@dataclass(frozen=True)
class _Seen:
    """What one sample holds; nothing but the failure if it cannot be read."""

    split: str
    name: str
    failure: str = ""
    size: tuple[int, int] = (0, 0)
    turned: bool = False
    digest: str = ""
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    ignored: int = 0


def check_data(
    path: str | Path, *, format: str | None = None, unlabelled: str | None = None, workers: int | None = None
) -> DataReport:
    """Read all images and label maps of a data set and say what is wrong with it.

    Args:
        path: a file or folder, see `catseg.data.formats`.
        format: one of `FORMATS`, for folders that could be of several.
        unlabelled: what becomes of pixels that nobody labelled.
        workers: number of processes; by default that of processors.

    Raises:
        FileNotFoundError: if there is no such file or folder, or it lacks files that it names.
        ValueError: if the format is unknown or not clear, or the data set's own files are damaged.
    """
    dataset = read_dataset(path, format=format, unlabelled=unlabelled)
    look = partial(_look, num_classes=len(dataset.vocabulary), ignore_label=dataset.ignore_label)
    title = f"Checking {dataset.path.name}"
    seen = list(in_processes(look, dataset.samples, workers=default_workers(workers), title=title))
    groups = _groups(seen)
    splits = {split: _split_report(dataset, [one for one in seen if one.split == split]) for split in dataset.splits}
    return DataReport(
        path=str(dataset.path),
        format=dataset.format,
        classes=list(dataset.vocabulary),
        ignore_label=dataset.ignore_label,
        unlabelled=dataset.unlabelled,
        splits=splits,
        duplicates=[[f"{one.split}: {one.name}" for one in group] for group in groups],
        problems=[*dataset.problems, *_problems(dataset, seen, groups, splits)],
        warnings=[*dataset.warnings, *_warnings(dataset, seen, groups, splits)],
        notes=list(dataset.notes),
    )


def _look(item: tuple[str, OwnSample], *, num_classes: int, ignore_label: int) -> _Seen:
    split, sample = item
    try:
        geometry, image, labels = image_geometry(sample.image), read_image(sample.image), sample.label_map()
    except Exception as error:
        message = one_line(error)
        if message is None:
            raise
        return _Seen(split, sample.name, failure=message)
    kept = labels[labels != ignore_label]
    return _Seen(
        split,
        sample.name,
        size=geometry.upright,
        turned=geometry.orientation != 1,
        digest=hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest(),
        pixels=np.bincount(kept, minlength=num_classes),
        ignored=labels.size - kept.size,
    )


def _groups(seen: Sequence[_Seen]) -> list[list[_Seen]]:
    """Group equal images. Files that are equal byte for byte decode to equal pixels."""
    groups: dict[str, list[_Seen]] = defaultdict(list)
    for one in seen:
        if not one.failure:
            groups[one.digest].append(one)
    return [group for group in groups.values() if len(group) > 1]


def _split_report(dataset: OwnDataset, seen: Sequence[_Seen]) -> SplitReport:
    read = [one for one in seen if not one.failure]
    pixels = sum((one.pixels for one in read), np.zeros(len(dataset.vocabulary), dtype=np.int64))
    images = sum((one.pixels > 0 for one in read), np.zeros(len(dataset.vocabulary), dtype=np.int64))
    labelled, ignored = int(pixels.sum()), sum(one.ignored for one in read)
    sizes = Counter(f"{one.size[1]} x {one.size[0]}" for one in read)
    return SplitReport(
        images=len(seen),
        sizes=dict(sizes.most_common()),
        turned=sum(one.turned for one in read),
        classes=[
            ClassReport(name, int(pixels[k]), float(pixels[k] / max(1, labelled)), int(images[k]))
            for k, name in enumerate(dataset.vocabulary)
        ],
        ignored=ignored / max(1, labelled + ignored),
        unlabelled_images=sum(not one.pixels.any() for one in read),
    )


def _problems(
    dataset: OwnDataset, seen: Sequence[_Seen], groups: Sequence[Sequence[_Seen]], splits: Mapping[str, SplitReport]
) -> list[str]:
    problems = []
    failures = [one.failure for one in seen if one.failure]
    problems += failures[:_MAX_LISTED]
    if len(failures) > _MAX_LISTED:
        problems.append(f"{len(failures) - _MAX_LISTED} more images or label maps cannot be read")
    leaks = [group for group in groups if len({one.split for one in group}) > 1]
    if leaks:
        pairs = [" = ".join(f"{one.split}: {one.name}" for one in group) for group in leaks]
        problems.append(how_many(pairs, "image is in several splits", "images are in several splits"))
    train = splits.get("train")
    if train is None:
        others = f", but {', '.join(splits)}" if splits else ""
        return [*problems, f"there are no images with labels for training{others}"]
    present = [report.name for report in train.classes if report.pixels]
    if not present and not failures:
        problems.append("no training image has a labelled pixel")
    if len(present) == 1 and train.ignored:
        problems.append(
            f"all labelled pixels of the training images are {present[0]!r} and the rest is ignored, which teaches "
            f"that everything is: {_what_to_do_about_ignored(dataset)}"
        )
    if "val" in splits and not failures and not any(report.pixels for report in splits["val"].classes):
        problems.append("no validation image has a labelled pixel, so that nothing can be evaluated")
    if "val" not in splits and train.images < 2:
        problems.append("there is one image, from which no validation split can be made: add images, or a split")
    elif "val" not in splits and not failures and len({one.digest for one in seen if one.split == "train"}) == 1:
        problems.append("all images are equal, so that no validation split can be made of them: add images, or a split")
    return problems


def _what_to_do_about_ignored(dataset: OwnDataset) -> str:
    if any(isinstance(sample.labels, IndexLabels) for _, sample in dataset.samples):
        return "if 255 is a class there, say so, by label_mapping in data.yaml or by numbers in the list of names"
    return "say what the rest is, such as unlabelled 'background'"


def _warnings(
    dataset: OwnDataset, seen: Sequence[_Seen], groups: Sequence[Sequence[_Seen]], splits: Mapping[str, SplitReport]
) -> list[str]:
    warnings = []
    for split, report in splits.items():
        coverage = LabelCoverage(
            report.images,
            np.array([one.pixels for one in report.classes]),
            sum(one.ignored for one in seen if one.split == split),
        )
        warning = coverage.warning(
            split, dataset.vocabulary, ignore_label=dataset.ignore_label, label_maps=report.images
        )
        warnings += [warning] if warning and any(one.pixels for one in report.classes) else []
        if report.unlabelled_images:
            warnings.append(f"{split}: all pixels of {report.unlabelled_images} images are ignored")
        if report.turned:
            warnings.append(
                f"{split}: {report.turned} images are turned by their EXIF orientation: make sure that the labels are "
                "of the upright images, as the contact sheet shows them"
            )
    repeated = [
        " = ".join(one.name for one in group) for group in groups if len({one.split for one in group}) < len(group)
    ]
    if repeated:
        warnings.append(how_many(repeated, "image is there several times", "images are there several times"))
    train = splits.get("train")
    rare = [one.name for one in train.classes if 0 < one.images < _FEW_IMAGES] if train else []
    if train and rare and train.images >= _FEW_IMAGES:
        kind = f"class is in fewer than {_FEW_IMAGES} training images", f"classes are in fewer than {_FEW_IMAGES} each"
        warnings.append(how_many(rare, *kind))
    if train and "val" not in splits:
        warnings.append("there is no validation split: a tenth of the training images will be taken")
    return warnings
