"""Writes data sets in other formats."""

import logging
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from catseg.data.formats import writers
from catseg.data.formats.dataset import OwnDataset, OwnSample
from catseg.data.formats.detect import read_dataset
from catseg.data.formats.prepared import default_workers
from catseg.data.parallel import in_processes
from catseg.errors import InputError
from catseg.file_names import result_names

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A format that is written.

    Attributes:
        image_folder: of the images of a split, "{split}" in it.
        write: writes the labels of an image and returns what `finish` needs of them.
        finish: writes what all images have in common, from the splits' names and what was returned for each.
    """

    image_folder: str
    write: Callable[[writers.Written, np.ndarray], Any]
    finish: Callable[[Path, OwnDataset, writers.BySplit], None]


_TARGETS = {
    "label-images": Target("images/{split}", writers.write_index, writers.finish_index),
    "coco": Target("{split}", writers.write_coco, writers.finish_coco),
    "ultralytics": Target("images/{split}", writers.write_yolo, writers.finish_yolo),
    "labelme": Target("{split}", writers.write_labelme, writers.finish_labelme),
    "voc": Target("JPEGImages", writers.write_voc, writers.finish_voc),
    "detectron2": Target("images/{split}", writers.write_detectron2, writers.finish_detectron2),
}
TARGETS = tuple(_TARGETS)


def convert(
    path: str | Path,
    target: str,
    output: str | Path,
    *,
    format: str | None = None,
    unlabelled: str | None = None,
    workers: int | None = None,
) -> Path:
    """Write a data set in another format. Images are copied as they are.

    All formats hold the same label maps, but for "ultralytics", which are polygons: pixels that are ignored become
    "background" there, as do holes of one class in another. The log states how many.

    Args:
        path: a file or folder, see `catseg.data.formats`.
        target: one of `TARGETS`: "label-images" (index PNG and classes.json), "coco" (RLE, one annotation per class and
            image), "ultralytics" (polygons and data.yaml), "labelme", "voc" (palette PNG), or "detectron2" (the layout
            of the benchmarks, with a script that registers it).
        output: the folder to write, which must not exist.
        format: one of `FORMATS`, for folders that could be of several.
        unlabelled: what becomes of pixels that nobody labelled.
        workers: number of processes; by default that of processors.

    Returns:
        The folder. If anything goes wrong, it is not there.

    Raises:
        FileExistsError: if `output` is there.
        FileNotFoundError: if there is no such data set, or it lacks files that it names.
        OSError: if the folder cannot be written.
        ValueError: if the data set cannot be read, has problems, or does not fit the format.
    """
    if target not in _TARGETS:
        raise InputError(f"unknown target {target!r}: there are {', '.join(TARGETS)}")
    folder = Path(output).expanduser().absolute()
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder} is there already: name a folder that is not, or remove it")
    dataset = read_dataset(path, format=format, unlabelled=unlabelled)
    if dataset.problems:
        raise InputError(f"{dataset.path} cannot be converted as it is: {'; '.join(dataset.problems)}")
    if target == "voc" and dataset.ignore_label > 255:
        raise InputError(f"{dataset.path} has {len(dataset.vocabulary)} classes, VOC's 8 bits hold 255")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partly = folder.with_name(f".{folder.name[:100]}.{uuid.uuid4().hex[:8]}.partial")
    try:
        _write(dataset, _TARGETS[target], partly, workers=default_workers(workers))
        partly.rename(folder)
    except BaseException:
        shutil.rmtree(partly, ignore_errors=True)
        raise
    return folder


def _write(dataset: OwnDataset, target: Target, folder: Path, *, workers: int) -> None:
    names = {split: _names(samples) for split, samples in dataset.splits.items()}
    if "{split}" not in target.image_folder and _any_equal([name for found in names.values() for name in found]):
        names = {split: [f"{split}__{name}" for name in found] for split, found in names.items()}
    todo = [
        (sample, writers.Written(folder, split, name, folder / target.image_folder.format(split=split), dataset))
        for split, samples in dataset.splits.items()
        for sample, name in zip(samples, names[split], strict=True)
    ]
    light = [(sample, written.without_samples()) for sample, written in todo]
    title = f"Converting {dataset.path.name}"
    results = list(in_processes(partial(_one, target=target), light, workers=workers, title=title))
    by_split: dict[str, list[tuple[writers.Written, Any]]] = {split: [] for split in dataset.splits}
    for (_, written), (image, result) in zip(todo, results, strict=True):
        by_split[written.split].append((written.with_image(image), result))
    target.finish(folder, dataset, by_split)


def _one(item: tuple[OwnSample, writers.Written], *, target: Target) -> tuple[Path, Any]:
    sample, written = item
    labels = sample.label_map()
    image = written.image_folder / f"{written.name}{sample.image.suffix}"
    image.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(sample.image, image)
    return image, target.write(written.with_image(image), labels)


def _names(samples: Sequence[OwnSample]) -> list[str]:
    """Name the files of a split's samples, all in one folder."""
    files = [Path("/", f"{sample.name}{sample.image.suffix}") for sample in samples]
    names = [name.replace("/", "__") for name in result_names(files)]
    if _any_equal(names):
        raise InputError("two images have the same name once folders are joined by '__': rename one")
    return names


def _any_equal(names: Sequence[str]) -> bool:
    return len({name.casefold() for name in names}) < len(names)
