"""Segment images that are too many for one process, or for one machine."""

import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from catseg.api.loading import load
from catseg.api.model import CATSegModel
from catseg.api.request import THRESHOLD, SegmentOptions
from catseg.batch.attempts import forget_all
from catseg.batch.engines import Engine, make_engine
from catseg.batch.manifest import MANIFEST, Manifest, Row
from catseg.batch.packed_model import pack_model
from catseg.batch.references import Reference, find_references
from catseg.batch.remote_results import RemoteResultFolder
from catseg.batch.storage import Storage
from catseg.batch.worker import Work
from catseg.segmenting.job import prepare_results
from catseg.segmenting.results import ResultFolder, output_errors
from catseg.vocabulary import VocabularySource, load_vocabulary

MOST_IMAGES = 1000  # of a piece of the work, which becomes a part of the manifest
PIECES = 4  # for each worker, at least, so that all of them end at about the same time
_TOLD = 20  # errors that a summary holds

Words = str | os.PathLike[str]


@dataclass
class DatasetSummary:
    """What a run did.

    Attributes:
        done: number of images that have results from this run, or had them from one that was cut short.
        skipped: of images that the manifest says are done.
        failed: of images that could not be segmented.
        errors: why, by image, of the first of these; the manifest has all.
        left_out: why files are not among the images, by path.
        seconds: of the whole run.
        manifest: the file, or its address.
    """

    manifest: str
    done: int = 0
    skipped: int = 0
    failed: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, row: Row) -> None:
        """Count an image."""
        if row["error"] is None:
            self.done += 1
            return
        self.failed += 1
        if len(self.errors) < _TOLD:
            self.errors[row["input"]] = row["error"]


def _no_report(row: Row) -> None:
    """Tell nobody."""


def segment_dataset(
    inputs: Words | Iterable[Words],
    classes: VocabularySource,
    output: Words,
    *,
    model: str | CATSegModel = "v2-base",
    engine: str = "local",
    workers: int = 1,
    device: str | None = None,
    save: Collection[str] = ("labels", "shares"),
    image_format: str = "png",
    threshold: float = THRESHOLD,
    background: str | None = None,
    batch: int = 1,
    report: Callable[[Row], None] = _no_report,
) -> DatasetSummary:
    """Segment very many images, and write down in a manifest what became of each.

    A run goes on where an earlier one with the same settings ended, whatever ended it and whichever engine it had:
    images that manifest or output folder hold are left out, those that failed are tried again.

    Args:
        inputs: files, folders, patterns, addresses of object stores, Parquet files: see `find_references`.
        classes: what to look for, as `CATSegModel.segment` takes it.
        output: where results go: a folder, or an address such as s3://BUCKET/FOLDER.
        model: as `catseg.load` takes it, or what that returned.
        engine: "local" for processes of this machine, "ray" for actors of Ray Data.
        workers: processes, or actors. Each has a model.
        device: of the workers, as torch names it; by default a GPU, where there are some.
        save: what is written of each image: overlay, labels, scores, coco, labelme, shares.
        image_format: of the overlays, png or jpg.
        threshold: as in `CATSegModel.segment`, as are `background` and `batch`.
        background: see there.
        batch: see there.
        report: is called with the row of each image, in any order.

    Returns:
        How many images were done. `manifest.parquet` in the output folder tells of each: see `Row`.

    Raises:
        FileNotFoundError: if an input is not there.
        ValueError: if inputs, classes, model or options cannot be used.
        RuntimeError: if a package is not installed, or a worker cannot be started.
        OutputError, OSError: if results cannot be written; a later run goes on from there.
    """
    start = time.monotonic()
    storage = Storage(os.fspath(output))
    with closing(make_engine(engine, workers)) as runner:
        names = load_vocabulary(classes)
        words = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
        references, left_out = find_references([os.fspath(word) for word in words], storage.address)
        loaded = load(model, device="cpu") if isinstance(model, str) else model
        options: SegmentOptions = {
            "threshold": threshold,
            "background": background,
            "batch": batch,
            "keep_probabilities": "scores" in save,
        }
        loaded.segment((), names, **options)  # which no image, but any wrong value, makes an error
        results = _result_folder(storage, save, image_format)
        summary = DatasetSummary(f"{storage.address}/{MANIFEST}", left_out=left_out)
        with output_errors():
            work = Work(
                classes=names,
                options=options,
                results=results,
                storage=storage,
                run=Manifest(storage).next_run(),
                resumes=not storage.is_empty(),
                device=device or runner.device(),
                cores=runner.cores(),
            )
            prepare_results(results, loaded, names, options)
            for row in _rows(runner, work, loaded, references, summary):
                summary.add(row)
                report(row)
    summary.seconds = time.monotonic() - start
    return summary


def _result_folder(storage: Storage, save: Collection[str], image_format: str) -> ResultFolder:
    if storage.is_remote:
        return RemoteResultFolder(storage, save, image_format)
    return ResultFolder(Path(storage.address), [], save, image_format)


def _rows(
    engine: Engine, work: Work, model: CATSegModel, references: Sequence[Reference], summary: DatasetSummary
) -> Iterator[Row]:
    """Do what the manifest does not have, and yield the row of each image when its piece of the work is done."""
    manifest = Manifest(work.storage)
    manifest.merge()
    waiting = _unfinished(references, manifest.finished(), work.results)
    summary.skipped = len(references) - len(waiting)
    if not waiting:
        return
    size = max(1, min(MOST_IMAGES, math.ceil(len(waiting) / (PIECES * engine.workers))))
    pieces = [waiting[first : first + size] for first in range(0, len(waiting), size)]
    try:
        with logging_redirect_tqdm(), tqdm(total=len(waiting), unit="image", disable=None) as progress:
            for rows in engine.run(work, pack_model(model), pieces):
                progress.update(len(rows))
                yield from rows
        forget_all(work.storage)
    finally:
        manifest.merge()


def _unfinished(
    references: Sequence[Reference], finished: Mapping[str, str], results: ResultFolder
) -> Sequence[Reference]:
    if not finished:
        return references
    return [item for item in references if finished.get(item.input) != results.fingerprint(item.image())]
