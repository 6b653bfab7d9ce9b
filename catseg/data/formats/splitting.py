"""A validation split for data sets that have none."""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

from catseg.atomic import cache_folder, write_json
from catseg.data.formats.dataset import OwnDataset, OwnSample
from catseg.errors import InputError

logger = logging.getLogger(__name__)

VALIDATION_SHARE = 0.1


def with_validation(dataset: OwnDataset) -> OwnDataset:
    """Return the data set with a validation split, taken from the training images if it has none.

    A tenth of the images, at least one: those whose content has the lowest hashes, so that the choice is the same every
    time, hardly changes when images are added, and equal images stay together. The log states it, and a file in the
    cache lists it.

    Raises:
        OSError: if an image, or the file, cannot be read or written.
        ValueError: if there are no training images, or all are equal.
    """
    if dataset.splits.get("val"):
        return dataset
    samples = dataset.splits.get("train", ())
    if not samples:
        raise InputError(f"{dataset.path} has no images for training, but {', '.join(dataset.splits) or 'none at all'}")
    wanted = max(1, round(VALIDATION_SHARE * len(samples)))
    chosen: list[OwnSample] = []
    groups: dict[str, list[OwnSample]] = {}
    for sample in samples:
        groups.setdefault(_digest(sample.image), []).append(sample)
    for _, group in sorted(groups.items()):
        if len(chosen) < wanted and len(chosen) + len(group) < len(samples):
            chosen += group
    if not chosen:
        raise InputError(
            f"{dataset.path} has no validation split, and none can be made of {len(samples)} equal images: "
            "add images, or a split"
        )
    names = sorted(sample.name for sample in chosen)
    file = validation_file(dataset)
    write_json(file, {"data": str(dataset.path), "val": names})
    logger.warning(
        "%s has no validation split: %d of its %d training images are taken for it, listed in %s",
        *(dataset.path, len(names), len(samples), file),
    )
    taken = set(names)
    splits = {
        **dataset.splits,
        "train": tuple(sample for sample in samples if sample.name not in taken),
        "val": tuple(sample for sample in samples if sample.name in taken),
    }
    note = f"{len(names)} of {len(samples)} training images are the validation split, listed in {file}"
    return replace(dataset, splits=splits, notes=(*dataset.notes, note))


def shared_images(images: Iterable[Path], others: Iterable[Path]) -> list[Path]:
    """Return the images that are equal, byte for byte, to one of the others. Files of other sizes are not read.

    Raises:
        OSError: if a file cannot be read.
    """
    by_size: dict[int, list[Path]] = {}
    for path in others:
        by_size.setdefault(path.stat().st_size, []).append(path)
    digest = cache(_digest)
    return [
        path for path in images if any(digest(path) == digest(other) for other in by_size.get(path.stat().st_size, ()))
    ]


def validation_file(dataset: OwnDataset) -> Path:
    """Return the file that lists the validation images that were chosen."""
    key = hashlib.sha256(str(dataset.path).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return cache_folder("validation_splits") / f"{dataset.path.stem}-{key}.json"


def _digest(image: Path) -> str:
    with image.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
