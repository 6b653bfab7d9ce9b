"""What every engine's workers do: one piece of the work at a time, from references to rows of the manifest."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from catseg.api.model import CATSegModel
from catseg.api.request import SegmentOptions
from catseg.api.streaming import map_ahead
from catseg.batch.attempts import MOST_DEATHS, Attempts
from catseg.batch.contents import Contents
from catseg.batch.manifest import Manifest, Row
from catseg.batch.references import Reference
from catseg.batch.storage import Storage
from catseg.console import one_line
from catseg.segmenting.inputs import InputImage
from catseg.segmenting.job import Job
from catseg.segmenting.results import ResultFolder
from catseg.vocabulary import Vocabulary

THREADS = 2  # that read images, and as many that write results


@dataclass(frozen=True)
class Work:
    """What all workers of a run are told.

    Attributes:
        classes: what to look for.
        options: of `CATSegModel.segment`.
        results: where results go; prepared.
        storage: the output folder.
        run: number of the run.
        resumes: whether results of an earlier run may be there.
        device: as torch names it.
        cores: processor threads of each worker.
    """

    classes: Vocabulary
    options: SegmentOptions
    results: ResultFolder
    storage: Storage
    run: int
    resumes: bool
    device: str
    cores: int


def piece_name(references: Sequence[Reference]) -> str:
    """Return a name for a piece of the work that depends on its images alone."""
    digest = hashlib.sha256()
    for reference in references:
        digest.update(f"{reference.input}\n".encode())
    return digest.hexdigest()[:24]


class ImageWorker:
    """Segments pieces of the work, one after another."""

    def __init__(self, work: Work, model: CATSegModel) -> None:
        """Encode the class names."""
        torch.set_num_threads(work.cores)
        self._work = work
        self._contents = Contents()
        self._job = Job(model, work.classes, work.results, options=work.options, writers=THREADS)

    def run(self, references: Sequence[Reference]) -> list[Row]:
        """Segment images, write their results, and write down in the manifest what became of them.

        What an earlier process left is kept, and an image that cannot be segmented is a row with an error. If this
        process is killed, another one can run the same piece: it does again the images that were on their way.

        Args:
            references: a piece of the work.

        Returns:
            A row for each, in any order.

        Raises:
            OutputError, OSError: if nothing can be written.
        """
        piece = piece_name(references)
        attempts = Attempts(self._work.storage, piece)
        rows: list[Row] = []
        if self._work.resumes or attempts.again:
            rows = [row for reference in references if (row := self._finished(reference))]
        there = {row["input"] for row in rows}
        missing = [reference for reference in references if reference.input not in there]
        if attempts.again:  # one by one, to know which image is on its way
            rows += [row for reference in missing for row in self._with_care(reference, attempts)]
        else:
            rows += self._segment(missing)
        Manifest(self._work.storage).add(self._work.run, piece, rows)
        attempts.end()
        return rows

    def _finished(self, reference: Reference) -> Row | None:
        record = self._work.results.finished(reference.image())
        return None if record is None else self._row(reference, record, 0.0)

    def _with_care(self, reference: Reference, attempts: Attempts) -> Iterator[Row]:
        if attempts.gives_up(reference.input):
            reason = f"{MOST_DEATHS} processes ended while they worked on it; the next run tries again"
            yield self._row(reference, reason, 0.0)
            return
        attempts.begin(reference.input)
        yield from self._segment([reference])

    def _segment(self, references: Sequence[Reference]) -> Iterator[Row]:
        """Yield rows in order. What was read is a few images ahead of what is written, which bounds the memory."""
        unreadable: dict[str, str] = {}

        def images() -> Iterator[InputImage]:
            for image, error in map_ahead(self._read, references, threads=THREADS, ahead=2 * THREADS):
                if error is not None:
                    unreadable[image.input] = error
                yield image

        start = time.perf_counter()
        for reference, outcome in zip(references, self._job.outcomes(images()), strict=True):
            end = time.perf_counter()
            yield self._row(reference, unreadable.get(reference.input, outcome), end - start)
            start = end

    def _read(self, reference: Reference) -> tuple[InputImage, str | None]:
        """Read an image's file, or say why it cannot be; no bytes, which are no image, then stand for it."""
        try:
            return reference.image(self._contents.read(reference)), None
        except Exception as error:  # whatever is wrong with one image, the others are done
            reason = one_line(error) or f"{type(error).__name__}: {error}"
            return replace(reference.image(), content=b""), reason

    def _row(self, reference: Reference, outcome: dict[str, Any] | str, seconds: float) -> Row:
        if isinstance(outcome, str):
            reason = outcome.removeprefix(reference.input).lstrip(": ")
            return Row(input=reference.input, outputs={}, shares={}, seconds=seconds, error=reason, settings="")
        return Row(
            input=reference.input,
            outputs=outcome["files"],
            shares=outcome["classes"],
            seconds=seconds,
            error=None,
            settings=outcome["settings"],
        )
