"""One video: its frames through the model, and what is written of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from catseg.api.model import CATSegModel
from catseg.api.request import SegmentOptions
from catseg.api.result import Result
from catseg.atomic import atomic_path
from catseg.errors import InputError
from catseg.segmenting.inputs import InputImage
from catseg.segmenting.results import ResultFolder, output_errors, write_result
from catseg.segmenting.videos import Frame, Video, video_writer
from catseg.vocabulary import Vocabulary

CAMERA_SUFFIX = ".mp4"


def segment_video(
    model: CATSegModel,
    source: InputImage,
    classes: Vocabulary,
    results: ResultFolder | None,
    *,
    options: SegmentOptions,
    limit: int | None,
    report: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Segment a video frame by frame.

    What is recorded of a camera until Ctrl-C is kept; of a file that was not done to its end, no video is.

    Args:
        model: what segments.
        source: the video.
        classes: what to look for.
        results: where results go; None writes none.
        options: of `CATSegModel.segment`.
        limit: number of frames at most; None for all.
        report: is called with what is known of each frame.

    Returns:
        The record of the video: as that of an image, with mean shares, and `frames` and `rate`, frames per second.

    Raises:
        ValueError: if the video cannot be read, or a frame cannot be segmented.
        OutputError, OSError, RuntimeError: if results cannot be written.
        KeyboardInterrupt: after Ctrl-C.
    """
    video = Video(str(source.path))
    found = _Summary(source, video)
    files = _result_files(source, video, results)
    interrupted = False
    with ExitStack() as stack:
        write: Callable[[Result], None] = _ignore
        if results is not None and results.has_overlays:
            stack.enter_context(output_errors())
            temporary = stack.enter_context(atomic_path(results.path(files["overlay"])))
            write_frame = stack.enter_context(video_writer(temporary, video, frames=limit))
            write = lambda result: write_frame(_drawn(result))
        try:
            for number, result in enumerate(_segmented(model, video, classes, options, limit), 1):
                if result.error is not None:
                    raise InputError(f"frame {number}: {result.error}")
                write(result)
                if results is not None:
                    with output_errors():
                        write_result(result, results.frame_files(source, number))
                report(found.add(number, result))
        except KeyboardInterrupt:
            if video.path is not None or not found.frames:
                raise
            interrupted = True
    record = found.record()
    if results is not None:
        record = results.record(source, record, files)
    if interrupted:
        raise KeyboardInterrupt
    return record


def _result_files(source: InputImage, video: Video, results: ResultFolder | None) -> dict[str, str]:
    """Return what is written of a video, from kind to path relative to the folder."""
    files = {}
    if results is not None and results.has_overlays:
        files["overlay"] = f"{source.name}_overlay{CAMERA_SUFFIX if video.path is None else video.path.suffix}"
    if results is not None and results.frame_files(source, 1):
        files["frames"] = source.name
    return files


def _ignore(result: Result) -> None:
    """Write nothing."""


class _Summary:
    """What is known of a video so far."""

    def __init__(self, source: InputImage, video: Video) -> None:
        self.frames = 0
        self._source, self._video = source, video
        self._size = (0, 0)
        self._shares: Counter[str] = Counter()
        self._confidence = 0.0

    def add(self, number: int, result: Result) -> dict[str, Any]:
        """Take a frame in, and return what is known of it."""
        shares, confidence = result.share(), float(result.scores.mean())
        self.frames += 1
        self._size = result.labels.shape
        self._shares.update(shares)
        self._confidence += confidence
        return {"input": str(self._source.path), "frame": number, "classes": shares, "mean_confidence": confidence}

    def record(self) -> dict[str, Any]:
        """Return what is known of all frames."""
        return {
            "name": Path(self._source.name).with_name(self._source.path.name).as_posix(),
            "input": str(self._source.path),
            "width": self._size[1],
            "height": self._size[0],
            "frames": self.frames,
            "rate": self._video.rate,
            "classes": {name: share / self.frames for name, share in self._shares.most_common()},
            "mean_confidence": self._confidence / self.frames,
        }


def _segmented(
    model: CATSegModel, video: Video, classes: Vocabulary, options: SegmentOptions, limit: int | None
) -> Iterator[Result]:
    total = min(filter(None, (video.length, limit)), default=None)
    results = model.segment(islice(video, limit), classes, **options)
    return iter(tqdm(results, desc=video.name, total=total, unit="frame", disable=None, leave=False))


def _drawn(result: Result) -> Frame:
    """Draw a frame at its own size; without a legend, whose height changes with what is seen."""
    drawn = result.overlay(legend=False)
    height, width = result.labels.shape
    return (
        drawn
        if drawn.shape[:2] == (height, width)
        else cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
    )
