"""The files that are written of segmented images."""

import errno
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from catseg.api.result import Result
from catseg.atomic import write_json
from catseg.errors import InputError
from catseg.pages.gallery import write_gallery
from catseg.segmenting.inputs import InputImage
from catseg.visualization import save_image, side_by_side

SHARES = "shares"
_SUFFIXES = {"labels": "png", "scores": "npz", "coco": "json", "labelme": "json", SHARES: "json"}  # of other kinds: any
_DRAWN = ("overlay", "side by side")
_RECORDS = ".catseg"  # folder of the records of images whose shares are not asked for
_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class OutputError(Exception):
    """Results cannot be written, and those of further images could not either."""


class ResultFolder:
    """Names and writes the results of each image, and finds those of an earlier run."""

    def __init__(self, folder: Path, images: Sequence[InputImage], kinds: Collection[str], image_format: str) -> None:
        """Name the results; the folder is made by `prepare`.

        Args:
            folder: where results go.
            images: those that results will be written for.
            kinds: of results: see `write_result`; and `shares`, the record of each image.
            image_format: suffix of the result images, without dot.

        Raises:
            ValueError: if there is no such kind, or a result would replace an image.
        """
        unknown = [kind for kind in kinds if kind not in _KINDS]
        if unknown:
            raise InputError(f"no result is called {', '.join(unknown)}: there are {', '.join(_KINDS)}")
        self._folder = folder
        self._kinds = {kind: _SUFFIXES.get(kind, image_format) for kind in kinds if kind != SHARES}
        self._records = folder if SHARES in kinds else folder / _RECORDS
        self._settings = ""
        inputs = {source.path for source in images}
        for source in images:
            for file in self._files(source).values():
                if folder.resolve() / file in inputs:
                    raise InputError(f"the result {folder / file} would replace an image: choose another --output")

    def prepare(self, settings: Sequence[Any], *, files: Sequence[str]) -> None:
        """Make the folder, and note what the results depend on, beside the image.

        Args:
            settings: values that JSON can hold.
            files: files that were read; "" for none.

        Raises:
            OSError: if the folder cannot be made.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        states = [_file_state(Path(file)) if file else None for file in files]
        self._settings = _digest([*settings, *states, self._kinds])

    @property
    def is_prepared(self) -> bool:
        """Whether `prepare` was called, here or in the process that this one works for."""
        return bool(self._settings)

    def save(self, source: InputImage, result: Result) -> dict[str, Any]:
        """Write the results of one image.

        Args:
            source: the image.
            result: with class scores, if scores are to be written.

        Returns:
            What `describe` does; `files`, from kind to path relative to the folder; `settings`, a fingerprint.

        Raises:
            OutputError: if nothing can be written to the folder.
            OSError: if this image's results cannot be written.
        """
        files = self._files(source)
        with output_errors():
            write_result(result, {kind: self._folder / file for kind, file in files.items()})
        return self.record(source, describe(source, result), files)

    def record(self, source: InputImage, about: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
        """Write down that an input is done, and return its record.

        Args:
            source: the input.
            about: what is known of it.
            files: from kind to path relative to the folder.
        """
        record = {**about, "files": files, "settings": self.fingerprint(source)}
        with output_errors():
            write_json(self._record_file(source), record)
        return record

    def finished(self, source: InputImage) -> dict[str, Any] | None:
        """Return the record of an earlier run with the same settings, if all of its results are there."""
        try:
            record = json.loads(self._read_record(source))
            same = record["settings"] == self.fingerprint(source)
            whole = all(self._exists(file) for file in record["files"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return record if same and whole else None

    def fingerprint(self, source: InputImage) -> str:
        """Return what changes when an image does, or what its results depend on beside it."""
        state: Any = source.state
        if state is None:
            state = _file_state(source.path) if source.content is None else hashlib.sha256(source.content).hexdigest()
        return _digest([self._settings, state])

    def path(self, file: str) -> Path:
        """Return where a file of a record is."""
        return self._folder / file

    def frame_files(self, video: InputImage, number: int) -> dict[str, Path]:
        """Return what is written of one frame of a video: all but the drawings, which become a video again."""
        return {
            kind: self._folder / video.name / f"{number:06d}_{kind}.{suffix}"
            for kind, suffix in self._kinds.items()
            if kind != "overlay"
        }

    @property
    def has_overlays(self) -> bool:
        """Whether drawings are written."""
        return "overlay" in self._kinds

    def write_summary(
        self, about: Mapping[str, Any], records: Sequence[Mapping[str, Any]], failed: Mapping[str, str]
    ) -> None:
        """Write `summary.json` and `index.html`, which shows the overlays if there are some.

        Args:
            about: the run: at least `classes` and `trained`.
            records: of the images that are done.
            failed: why the others are not, by path.

        Raises:
            OutputError: if nothing can be written to the folder.
        """
        with output_errors():
            write_json(self._folder / "summary.json", {**about, "pictures": records, "failed": failed})
            if self.has_overlays:
                write_gallery(
                    self._folder / "index.html", records, about["classes"], failed=failed, trained=about["trained"]
                )

    def _files(self, source: InputImage) -> dict[str, str]:
        return {kind: f"{source.name}_{kind.replace(' ', '_')}.{suffix}" for kind, suffix in self._kinds.items()}

    def _record_file(self, source: InputImage) -> Path:
        return self._records / f"{source.name}_{SHARES}.json"

    def _read_record(self, source: InputImage) -> str:
        return self._record_file(source).read_text(encoding="utf-8")

    def _exists(self, file: str) -> bool:
        return (self._folder / file).exists()


def describe(source: InputImage, result: Result) -> dict[str, Any]:
    """Return what is known of a segmented image.

    Returns:
        `name`, `input`, `width`, `height`; `classes`, from name to share of the pixels; `mean_confidence`.
    """
    height, width = result.labels.shape
    return {
        "name": Path(source.name).with_name(source.path.name).as_posix(),
        "input": source.input,
        "width": width,
        "height": height,
        "classes": result.share(),
        "mean_confidence": float(result.scores.mean()),
    }


def write_result(result: Result, files: Mapping[str, Path]) -> None:
    """Write results of one image.

    Args:
        result: what was found in it; for the scores, with probabilities.
        files: from kind, which is `overlay`, `labels`, `side by side`, `scores`, `confidence`, `class scores`, `coco`
            or `labelme`, to the file that is written.

    Raises:
        OSError: if a file cannot be written.
    """
    drawn = result.overlay() if files.keys() & set(_DRAWN) else None
    for kind, path in files.items():
        if kind == "overlay" and drawn is not None:
            save_image(path, drawn)
        elif kind == "side by side" and drawn is not None:
            save_image(path, side_by_side([result.image, drawn], ["image", "classes"]))
        elif kind == "labelme":
            write_json(path, {**result.to_labelme(), "imagePath": _from_folder(path.parent, result)})
        else:
            _WRITERS[kind](result, path)


_WRITERS = {
    "labels": lambda result, path: result.save_labels(path),
    "scores": lambda result, path: result.save_scores(path),
    "confidence": lambda result, path: save_image(path, result.confidence_image()),
    "class scores": lambda result, path: save_image(path, result.class_scores_image()),
    "coco": lambda result, path: write_json(path, result.to_coco()),
}
_KINDS = (*_DRAWN, *_WRITERS, "labelme", SHARES)


@contextmanager
def output_errors() -> Iterator[None]:
    """Turn errors that every further result would meet too, such as a full disk, into `OutputError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _HOPELESS:
            raise
        raise OutputError(f"cannot write results: {error}") from error


def _from_folder(folder: Path, result: Result) -> str:
    """Return the path of an image as labelme looks for it: from the folder of the JSON file."""
    return os.path.relpath(result.source, folder) if result.source else ""


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _file_state(path: Path) -> list[int] | None:
    """Return what changes when a file is written again; None if there is no such file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns]
