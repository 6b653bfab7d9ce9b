"""One run: a model, a list of images, and what came of each."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from catseg.api.model import CATSegModel
from catseg.api.request import SegmentOptions
from catseg.api.result import Result
from catseg.api.streaming import map_ahead
from catseg.checkpoint.sources import fetch
from catseg.console import one_line, shows_traceback
from catseg.segmenting.inputs import InputImage
from catseg.segmenting.results import OutputError, ResultFolder, describe
from catseg.segmenting.video_job import segment_video
from catseg.vocabulary import Vocabulary, load_vocabulary

__all__ = ["Job", "OutputError", "prepare_results"]

Report = Callable[[Mapping[str, Any]], None]

logger = logging.getLogger(__name__)


def _no_report(record: Mapping[str, Any]) -> None:
    """Tell nobody."""


class Job:
    """Segments images and videos one by one and goes on after those that fail.

    Attributes:
        done: the record of each image that is done: see `ResultFolder.save`.
        failed: why an image is not, by its path.
    """

    def __init__(
        self,
        model: CATSegModel,
        classes: Vocabulary,
        results: ResultFolder | None,
        *,
        options: SegmentOptions,
        writers: int = 2,
        frames: int | None = None,
    ) -> None:
        """Encode the class names, and tell the folder what the results depend on.

        Args:
            model: what segments.
            classes: what to look for.
            results: where results go; None writes none.
            options: of `CATSegModel.segment`.
            writers: threads that write results while the next images are segmented.
            frames: of each video, at most; None for all.

        Raises:
            ValueError: if the classes cannot be encoded, which would fail once for each image.
            OSError: if the folder cannot be made.
        """
        self.done: list[dict[str, Any]] = []
        self.failed: dict[str, str] = {}
        self._model = model
        self._classes = classes
        self._results = results
        self._options = options
        self._writers = writers
        self._frames = frames
        background = options.get("background")
        self._names = classes if background is None else load_vocabulary([*classes.synonyms, background])
        model.encode_classes(classes, context=options.get("context", "training"))
        self._weights = model.config.MODEL.WEIGHTS
        if results is not None and not results.is_prepared:
            prepare_results(results, model, classes, options, frames)

    def run(
        self,
        images: Sequence[InputImage],
        *,
        about: Mapping[str, Any],
        skip_existing: bool = False,
        report: Report = _no_report,
    ) -> None:
        """Do all images, then write the summary of them.

        Args:
            images: what to segment.
            about: what the summary says of the run, beside `weights`, `trained` and `classes`.
            skip_existing: whether to leave out what an earlier run did with the same settings.
            report: is called, in order, with the record of each image, of each frame of a video, and with `input` and
                `error` of what failed.

        Raises:
            OutputError: if the results cannot be written.
        """
        earlier = {}
        if skip_existing and self._results is not None:
            earlier = {image: record for image in images if (record := self._results.finished(image))}
        outcomes = self.outcomes((image for image in images if image not in earlier), report)
        with logging_redirect_tqdm():
            for image in tqdm(images, unit="image", disable=None):
                outcome = earlier[image] if image in earlier else next(outcomes)
                self._keep(image, outcome)
                if isinstance(outcome, str):
                    report({"input": str(image.path), "error": self.failed[str(image.path)]})
                elif not image.is_video:  # which was reported frame by frame
                    report({key: value for key, value in outcome.items() if key != "settings"})
        if self._results is not None:
            own = {"weights": self._weights, "trained": self._model.trained, "classes": self._names}
            self._results.write_summary({**about, **own}, self.done, self.failed)

    def _keep(self, image: InputImage, outcome: dict[str, Any] | str) -> None:
        if isinstance(outcome, str):
            self.failed[str(image.path)] = outcome.removeprefix(str(image.path)).lstrip(": ")
        else:
            self.done.append(outcome)

    def outcomes(self, images: Iterable[InputImage], report: Report = _no_report) -> Iterator[dict[str, Any] | str]:
        """Yield, of each image in order, its record, or why there is none.

        Args:
            images: is advanced a few images beyond the one whose outcome is yielded.
            report: is called with the record of each frame of a video.

        Raises:
            OutputError: if the results cannot be written.
        """
        for video, group in groupby(images, key=lambda image: image.is_video):
            if video:
                yield from (self._video(image, report) for image in group)
            else:
                yield from self._images(group)

    def _images(self, images: Iterable[InputImage]) -> Iterator[dict[str, Any] | str]:
        on_the_way: deque[InputImage] = deque()

        def given() -> Iterator[Path | bytes]:
            for image in images:
                on_the_way.append(image)
                yield image.path if image.content is None else image.content

        results = self._model.segment(given(), self._classes, **self._options)
        found = ((on_the_way.popleft(), result) for result in results)
        return map_ahead(self._save, found, threads=self._writers, ahead=2 * self._writers)

    def _save(self, found: tuple[InputImage, Result]) -> dict[str, Any] | str:
        image, result = found
        if result.error is not None:
            return result.error
        if self._results is None:
            return describe(image, result)
        try:
            return self._results.save(image, result)
        except OutputError:
            raise
        except Exception as error:  # whatever is wrong with one image, the others are done
            return _reason(image.input, error)

    def _video(self, video: InputImage, report: Report) -> dict[str, Any] | str:
        try:
            return segment_video(
                self._model,
                video,
                self._classes,
                self._results,
                options=self._options,
                limit=self._frames,
                report=report,
            )
        except OutputError:
            raise
        except Exception as error:
            return _reason(video.input, error)


def prepare_results(
    results: ResultFolder,
    model: CATSegModel,
    classes: Vocabulary,
    options: SegmentOptions,
    frames: int | None = None,
) -> None:
    """Make the folder of results, and note what they depend on: all but the device and the number of threads.

    Args:
        results: that are to be written.
        model: what segments.
        classes: what to look for.
        options: of `CATSegModel.segment`.
        frames: of each video, at most; None for all.

    Raises:
        OSError: if the folder cannot be made.
    """
    weights = model.config.MODEL.WEIGHTS
    telling = {key: value for key, value in options.items() if key != "threads"}
    config = model.config.clone()
    config.defrost()
    config.MODEL.DEVICE = ""
    settings = [config.dump(), classes, telling, frames]
    results.prepare(settings, files=[weights and str(fetch(weights))])


def _reason(name: str, error: Exception) -> str:
    if shows_traceback(error):
        logger.error("%s", name, exc_info=error)
    return one_line(error) or f"{type(error).__name__}: {error}"
