"""Label maps as files: those that a data set brings along, and those that are made once and kept in the cache.

A made file is named after a hash of all that it depends on, so that a data set that changed is made anew where it did,
a break is continued, and processes that make the same do not disturb one another.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from catseg.atomic import atomic_path, cache_folder
from catseg.console import one_line
from catseg.data.formats.dataset import OwnDataset, OwnSample
from catseg.data.parallel import in_processes
from catseg.errors import InputError

logger = logging.getLogger(__name__)

_MAX_LISTED = 10  # label maps that a message lists


@dataclass(frozen=True)
class _Outcome:
    file: Path | None = None
    failure: str = ""


def default_workers(workers: int | None) -> int:
    """Return the number of processes: `workers`, or that of the processors that this process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return workers or available or 1


def label_files(dataset: OwnDataset, samples: Sequence[OwnSample], *, workers: int | None = None) -> list[Path]:
    """Return a label map file for each sample, as `catseg.label_io.read_classes` reads it.

    Every label map is read once, and those that are none yet are made. The cache remembers both.

    Args:
        dataset: the data set.
        samples: of it.
        workers: number of processes; by default that of processors.

    Raises:
        OSError: if the cache cannot be written.
        ValueError: if label maps cannot be read. All are tried, and the first ten are listed.
    """
    folder = cache_folder("label_maps")
    work = partial(_label_file, folder=folder, ignore_label=dataset.ignore_label)
    title = f"Label maps of {dataset.path.name}"
    outcomes = list(in_processes(work, samples, workers=default_workers(workers), title=title))
    failures = [outcome.failure for outcome in outcomes if outcome.file is None]
    if failures:
        listed = "; ".join(failures[:_MAX_LISTED]) + f"; and {len(failures) - _MAX_LISTED} more" * (
            len(failures) > _MAX_LISTED
        )
        raise InputError(f"{len(failures)} of {len(outcomes)} label maps of {dataset.path} cannot be read: {listed}")
    return [outcome.file for outcome in outcomes if outcome.file is not None]


def write_label_map(path: Path, labels: np.ndarray, ignore_label: int) -> None:
    """Write a label map of 8 bits, or of 16 if the ignored label needs them; complete or not at all.

    Args:
        path: a PNG file.
        labels: classes or ignored label, (H, W).
        ignore_label: of the data set.
    """
    with atomic_path(path) as temporary:
        Image.fromarray(labels.astype(np.uint8 if ignore_label < 256 else np.uint16)).save(temporary)


def _label_file(sample: OwnSample, *, folder: Path, ignore_label: int) -> _Outcome:
    try:
        name = sample.fingerprint()
        ready = sample.labels.is_label_map
        target = folder / name[:2] / f"{name}{'.read' if ready else '.png'}"
        if not target.exists():
            labels = sample.label_map()
            if ready:
                with atomic_path(target) as temporary:
                    temporary.touch()
            else:
                write_label_map(target, labels, ignore_label)
        return _Outcome(sample.labels.file if ready else target)
    except Exception as error:
        message = one_line(error)
        if message is None:
            raise
        return _Outcome(failure=message)
