"""Makes the files of a split in several processes."""

import hashlib
import io
import signal
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from catseg.atomic import atomic_path
from catseg.console import debugging
from catseg.data.preparation.jobs import Job, Recipe
from catseg.data.preparation.manifest import Manifest, digest_of

_JOBS_PER_CHUNK = 8  # jobs that a worker process is given at a time


class CannotWriteError(Exception):
    """A file could not be written, so that the next ones could not either: the disk is full, or not ours."""


@dataclass
class Outcome:
    """Outcome of the jobs of a split.

    Attributes:
        ready: names of the images whose files are there.
        left_out: number of images that the recipe left out.
        failures: a line for each image whose files could not be made.
    """

    ready: set[str] = field(default_factory=set)
    left_out: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Result:
    digests: Mapping[Path, str] = field(default_factory=dict)
    failure: str = ""


def make_all(jobs: Sequence[Job], recipe: Recipe, manifest: Manifest, *, workers: int, title: str) -> Outcome:
    """Do jobs in several processes, with a progress bar. Files that are there and match the manifest are left alone.

    Args:
        jobs: what to make.
        recipe: how.
        manifest: receives the checksums.
        workers: number of processes.
        title: of the progress bar.

    Raises:
        CannotWriteError: if a file could not be written.
        BrokenProcessPool: if a process died.
        KeyboardInterrupt: after Ctrl-C, once the processes have ended. No file is left half written.
    """
    outcome = Outcome()
    recorded = [{path: manifest.digests[path] for path in job.targets if path in manifest.digests} for job in jobs]
    with (
        manifest.recording(),
        ProcessPoolExecutor(workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool,
    ):
        try:
            results = pool.map(partial(_do, recipe=recipe), jobs, recorded, chunksize=_JOBS_PER_CHUNK)
            bar = tqdm(results, total=len(jobs), unit="image", desc=title, mininterval=1)
            for job, result in zip(jobs, bar, strict=True):
                manifest.record(result.digests)
                _count(outcome, job, result)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return outcome


def _count(outcome: Outcome, job: Job, result: _Result) -> None:
    if result.failure:
        outcome.failures.append(f"{job.name}: {result.failure}")
    elif result.digests:
        outcome.ready.add(job.name)
    else:
        outcome.left_out += 1


def _do(job: Job, recorded: Mapping[Path, str], *, recipe: Recipe) -> _Result:
    if recorded.keys() == set(job.targets) and all(digest_of(path) == digest for path, digest in recorded.items()):
        return _Result(recorded)
    try:
        made = recipe.make(job)
    # Image libraries raise all kinds of errors for damaged files, and one such file must not stop the others.
    except Exception as error:
        return _Result(failure=traceback.format_exc() if debugging() else str(error) or repr(error))
    if made is None:
        return _Result()
    contents = {job.target: _encoded_labels(made.labels, job.target)}
    if job.image_target is not None and made.image is not None:
        contents[job.image_target] = _encoded(made.image, "JPEG")
    for path, content in contents.items():
        _write(path, content)
    return _Result({path: hashlib.sha256(content).hexdigest() for path, content in contents.items()})


def _encoded_labels(labels: NDArray[np.integer], target: Path) -> bytes:
    if target.suffix == ".tif":
        return _encoded(labels.astype(np.uint16), "TIFF", compression="tiff_adobe_deflate")
    return _encoded(labels.astype(np.uint8), "PNG")


def _encoded(values: NDArray[np.uint8] | NDArray[np.uint16], kind: str, **options: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind, **options)
    return stream.getvalue()


def _write(target: Path, content: bytes) -> None:
    try:
        with atomic_path(target) as path:
            path.write_bytes(content)
    except OSError as error:
        raise CannotWriteError(f"{target} cannot be written: {error.strerror or error}") from error
