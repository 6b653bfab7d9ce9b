"""Registers own data sets with Detectron2, as the benchmarks are."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from catseg.data.formats.dataset import OwnDataset
from catseg.data.formats.detect import read_dataset
from catseg.data.formats.prepared import label_files
from catseg.data.formats.splitting import with_validation
from catseg.errors import InputError


def register_own(
    path: str | Path,
    *,
    format: str | None = None,
    unlabelled: str | None = None,
    workers: int | None = None,
) -> list[str]:
    """Register a data set of one's own with Detectron2.

    Its label maps are all read once. Those that are not label maps yet are made in the cache. A data set without a
    validation split gets one, see `catseg.data.formats.splitting`. Metadata are those of the benchmarks,
    `stuff_classes`, `ignore_label` and `evaluator_type`, and `own_data`, the path, and `is_made`, whether it is such a
    validation split. `MODEL.SEM_SEG_HEAD.IGNORE_VALUE` must be `ignore_label`. Calling this again reads the data set
    again.

    Args:
        path: a file or folder, see `catseg.data.formats`.
        format: one of `FORMATS`, for folders that could be of several.
        unlabelled: what becomes of pixels that nobody labelled.
        workers: number of processes that make label maps; by default that of processors.

    Returns:
        The names of the registered splits, `own_NAME_train`, `own_NAME_val` and so on; NAME is that of file or folder.

    Raises:
        FileNotFoundError: if there is no such file or folder, or it lacks files that it names.
        ValueError: if the data set cannot be read or has problems, or another one is registered by its name.
    """
    dataset = read_dataset(path, format=format, unlabelled=unlabelled)
    if dataset.problems:
        raise InputError(f"{dataset.path} cannot be used as it is: {'; '.join(dataset.problems)}")
    lacks_validation = not dataset.splits.get("val")
    dataset = with_validation(dataset)
    names = []
    for split, samples in dataset.splits.items():
        files = label_files(dataset, samples, workers=workers)
        records = [
            {"file_name": str(sample.image), "sem_seg_file_name": str(file)}
            for sample, file in zip(samples, files, strict=True)
        ]
        names.append(_register(dataset, split, records))
        MetadataCatalog.get(names[-1]).set(is_made=lacks_validation and split == "val")
    return names


def made_splits(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the images of the validation splits, among registered data sets, that were taken from training images."""
    made = [name for name in names if MetadataCatalog.get(name).get("is_made", False)]
    return {name: [record["file_name"] for record in DatasetCatalog.get(name)] for name in made}


def register_configured(paths: Sequence[str], *, format: str = "", unlabelled: str = "") -> None:
    """Register the data sets of `DATASETS.OWN`, those that this process has not registered yet.

    Args:
        paths: their files or folders.
        format: of `DATASETS.OWN_FORMAT`; "" for None.
        unlabelled: of `DATASETS.OWN_UNLABELLED`; "" for None.

    Raises:
        FileNotFoundError, ValueError: as `register_own`.
    """
    known = {MetadataCatalog.get(name).get("own_data") for name in DatasetCatalog.list()}
    for path in paths:
        if str(Path(path).expanduser().absolute()) not in known:
            register_own(path, format=format or None, unlabelled=unlabelled or None)


def own_name(path: Path, split: str) -> str:
    """Return what a split is registered as."""
    stem = path.parent.name if path.suffix and path.stem in ("data", "dataset") else path.stem
    return f"own_{re.sub(r'[^a-z0-9]+', '_', stem.casefold()).strip('_') or 'data'}_{split}"


def _register(dataset: OwnDataset, split: str, records: list[dict[str, str]]) -> str:
    name = own_name(dataset.path, split)
    if name in DatasetCatalog:
        other = MetadataCatalog.get(name).get("own_data")
        if other != str(dataset.path):
            raise InputError(f"{dataset.path} and {other} would both be registered as {name}: rename one of them")
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: [dict(record) for record in records])
    MetadataCatalog.get(name).set(
        stuff_classes=dataset.vocabulary,
        ignore_label=dataset.ignore_label,
        evaluator_type="sem_seg",
        own_data=str(dataset.path),
    )
    return name
