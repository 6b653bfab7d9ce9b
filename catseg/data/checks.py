"""Checks of registered data sets, before anything slow begins."""

import difflib
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from catseg.data.pairs import exists_by_folder, listed
from catseg.data.registration import dataset_vocabulary
from catseg.errors import InputError
from catseg.image_files import image_suffixes
from catseg.label_coverage import LabelCoverage
from catseg.label_io import read_classes

logger = logging.getLogger(__name__)

_FILES = {"file_name": "image", "sem_seg_file_name": "label map"}
_LABEL_MAPS_LOOKED_AT = 200


def check_datasets(names: Sequence[str], classes: str) -> None:
    """Check data sets that are trained or evaluated on together, as `check_dataset` does.

    Args:
        names: of the data sets.
        classes: other names for their classes, as `dataset_vocabulary` takes them, or "".

    Raises:
        FileNotFoundError: as `check_dataset`.
        ValueError: as `check_dataset` and `dataset_vocabulary`, or if a data set is not registered.
    """
    for name in names:
        if name not in DatasetCatalog.list():
            close = difflib.get_close_matches(name, DatasetCatalog.list())
            raise InputError(f"no dataset is called {name!r}" + (f"; did you mean {' or '.join(close)}?" * bool(close)))
        dataset_vocabulary(name, classes)  # for its own checks
        check_dataset(name)


def check_dataset(name: str) -> None:
    """Check that a data set has the metadata and the records that training and evaluation need.

    A warning is logged of images with label maps that the records lack because of their suffixes.

    Args:
        name: a registered data set. Its function is called.

    Raises:
        FileNotFoundError: if it has no images, or files of its records do not exist.
        ValueError: if metadata or records lack something or are of another kind. The message says what to do.
    """
    _check_metadata(name)
    records = _checked_records(name)
    _check_files(name, records)
    _warn_of_left_out(name, records)


def check_label_maps(name: str, *, coverage: bool) -> None:
    """Read some of the label maps of a data set, spread evenly over it.

    Args:
        name: a registered data set that passed `check_dataset`.
        coverage: whether to warn of classes that have no pixel, and of a large share of ignored pixels.

    Raises:
        ValueError: if a label map cannot be read, or holds values that are no class.
    """
    classes, ignore_label = scored_classes(name), MetadataCatalog.get(name).ignore_label
    records = DatasetCatalog.get(name)
    count = min(len(records), _LABEL_MAPS_LOOKED_AT)
    pixels, ignored = np.zeros(len(classes), dtype=np.int64), 0
    for index in np.linspace(0, len(records) - 1, count).astype(int):
        path = records[index]["sem_seg_file_name"]
        labels = read_classes(path, num_classes=len(classes), ignore_label=ignore_label)
        kept = labels[labels != ignore_label]
        pixels += np.bincount(kept, minlength=len(classes))
        ignored += labels.size - kept.size
    found = LabelCoverage(count, pixels, ignored)
    warning = found.warning(name, classes, ignore_label=ignore_label, label_maps=len(records))
    if coverage and warning:
        logger.warning(warning)


def scored_classes(name: str) -> Sequence[str]:
    """Return the names of the classes that the label maps of a registered data set hold."""
    return MetadataCatalog.get(name).get("scored_classes", dataset_vocabulary(name))


def _check_metadata(name: str) -> None:
    classes, metadata = dataset_vocabulary(name), MetadataCatalog.get(name)
    scored, ignore_label = scored_classes(name), metadata.get("ignore_label")
    how = f'MetadataCatalog.get("{name}").set(ignore_label=255)'
    if ignore_label is None:
        raise InputError(f"the data set {name} has no ignore_label, the value of pixels without class: {how}")
    if isinstance(ignore_label, bool) or not isinstance(ignore_label, int | np.integer):
        raise InputError(f"ignore_label of the data set {name} must be a whole number, got {ignore_label!r}: {how}")
    if 0 <= ignore_label < len(scored):
        raise InputError(
            f"ignore_label of the data set {name} is {ignore_label}, which is the class {scored[int(ignore_label)]!r}: "
            f"choose a number that is none of the {len(scored)} classes, 0..{len(scored) - 1}"
        )
    if not 0 < len(scored) <= len(classes):
        raise InputError(f"the data set {name} has {len(scored)} scored_classes and {len(classes)} stuff_classes")
    for group, members in metadata.get("score_groups", {}).items():
        if not all(0 <= member < len(scored) for member in members):
            raise InputError(f"score_groups of the data set {name} name classes beyond {len(scored) - 1} in {group!r}")


def _checked_records(name: str) -> Sequence[Mapping[str, Any]]:
    try:
        records = DatasetCatalog.get(name)
    except AssertionError as error:  # as Detectron2's own functions raise for missing files
        raise InputError(f"the data set {name} cannot be listed: {error}") from error
    if not isinstance(records, Sequence) or isinstance(records, str):
        raise InputError(
            f"the function that is registered for the data set {name} must return a list of records, "
            f"got {type(records).__name__}" + ": wrap it in list(...)" * hasattr(records, "__iter__")
        )
    if not records:
        raise FileNotFoundError(f"dataset {name} holds no images")
    for index, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise InputError(f"record {index} of the data set {name} must be a dict, got {type(record).__name__}")
        for key, kind in _FILES.items():
            if not isinstance(record.get(key), str | os.PathLike):
                found = f"has {record[key]!r} as {key!r}" if key in record else f"has no {key!r}"
                raise InputError(f"record {index} of the data set {name} {found}: it must be the path of the {kind}")
    return records


def _check_files(name: str, records: Sequence[Mapping[str, Any]]) -> None:
    exists = exists_by_folder()
    for key, kind in _FILES.items():
        missing = [str(record[key]) for record in records if not exists(Path(record[key]))]
        if missing:
            where = f" (relative paths start in {Path.cwd()})" if not all(map(os.path.isabs, missing)) else ""
            raise FileNotFoundError(
                f"{len(missing)} of the {len(records)} {kind}s of the data set {name} do not exist: "
                f"{listed(missing)}{where}"
            )


def _warn_of_left_out(name: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Warn of pairs beside those of the records that have another suffix, as Detectron2's `load_sem_seg` loses them.

    Pairs with the suffixes of the records may belong to another split.
    """
    images, labels = ({Path(record[key]) for record in records} for key in _FILES)
    suffixes, label_suffixes = {image.suffix for image in images}, {label.suffix for label in labels}
    taken = {image.stem for image in images}
    other_labels = {
        path.stem: path
        for path in _beside(labels, {suffix.lower() for suffix in label_suffixes})
        if path.stem not in taken
    }
    left_out = [
        image.name
        for image in _beside(images, image_suffixes())
        if (label := other_labels.get(image.stem, image)) != image
        and (image.suffix not in suffixes or label.suffix not in label_suffixes)
    ]
    if left_out:
        logger.warning(
            "%s: %d images are left out although they have label maps, for their suffixes differ from those of the "
            "records: %s; catseg.data.pairs.load_pairs lists them all",
            *(name, len(left_out), listed(left_out)),
        )


def _beside(files: Collection[Path], suffixes: Collection[str]) -> Iterator[Path]:
    """Iterate over what is in the folders of files and has one of the suffixes, which are in lower case."""
    for folder in {file.parent for file in files}:
        yield from (path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")
