"""The files that are written of segmented images."""

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from catseg.api.result import Result
from catseg.atomic import write_json
from catseg.errors import InputError
from catseg.pages.gallery import write_gallery
from catseg.segmenting.inputs import InputImage
from catseg.visualization import save_image, side_by_side

_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class OutputError(Exception):
    """Results cannot be written, and those of further images could not either."""


class ResultFolder:
    """Names and writes the results of each image, and finds those of an earlier run."""

    def __init__(
        self, folder: Path, images: Sequence[InputImage], *, image_format: str, side_by_side: bool, scores: bool
    ) -> None:
        """Make the folder.

        Args:
            folder: where results go.
            images: those that results will be written for.
            image_format: suffix of the result images, without dot.
            side_by_side: whether to write image and overlay in one image.
            scores: whether to write probabilities.

        Raises:
            ValueError: if a result would replace an image.
            OSError: if the folder cannot be made.
        """
        self._folder = folder
        self._kinds = {"overlay": image_format, "labels": "png"}
        if side_by_side:
            self._kinds["side by side"] = image_format
        if scores:
            self._kinds |= {"scores": "npz", "confidence": image_format, "class scores": image_format}
        self._settings: list[Any] = []
        inputs = {source.path for source in images}
        for source in images:
            for file in self._files(source).values():
                if folder.resolve() / file in inputs:
                    raise InputError(f"the result {folder / file} would replace an image: choose another --output")
        folder.mkdir(parents=True, exist_ok=True)

    def use_settings(self, settings: Sequence[Any], *, files: Sequence[str]) -> None:
        """Say what the results depend on, beside the image.

        Args:
            settings: values that JSON can hold.
            files: files that were read; "" for none.
        """
        self._settings = [*settings, *(_file_state(Path(file)) if file else None for file in files)]

    def save(self, source: InputImage, result: Result) -> dict[str, Any]:
        """Write the results of one image.

        Args:
            source: the image.
            result: with class scores, if scores are to be written.

        Returns:
            What is known of the image: `name`, `input`, `width`, `height`; `classes`, from name to share of the
            pixels; `mean_confidence`; `files`, from kind to path relative to the folder; `settings`, a fingerprint.

        Raises:
            OutputError: if nothing can be written to the folder.
            OSError: if this image's results cannot be written.
        """
        files = self._files(source)
        record = {
            "name": Path(source.name).with_name(source.path.name).as_posix(),
            "input": str(source.path),
            "width": result.labels.shape[1],
            "height": result.labels.shape[0],
            "classes": result.share(),
            "mean_confidence": float(result.scores.mean()),
            "files": files,
            "settings": self._fingerprint(source),
        }
        with _output_errors():
            self._write(result, {kind: self._folder / file for kind, file in files.items()})
            write_json(self._record_file(source), record)
        return record

    def finished(self, source: InputImage) -> dict[str, Any] | None:
        """Return the record of an earlier run with the same settings, if all of its results are there."""
        try:
            record = json.loads(self._record_file(source).read_text(encoding="utf-8"))
            same = record["settings"] == self._fingerprint(source)
            whole = all((self._folder / file).is_file() for file in record["files"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return record if same and whole else None

    def write_summary(
        self, about: Mapping[str, Any], records: Sequence[Mapping[str, Any]], failed: Mapping[str, str]
    ) -> None:
        """Write `summary.json` and `index.html`.

        Args:
            about: the run: at least `classes` and `trained`.
            records: of the images that are done.
            failed: why the others are not, by path.

        Raises:
            OutputError: if nothing can be written to the folder.
        """
        with _output_errors():
            write_json(self._folder / "summary.json", {**about, "pictures": records, "failed": failed})
            write_gallery(
                self._folder / "index.html", records, about["classes"], failed=failed, trained=about["trained"]
            )

    def _write(self, result: Result, files: Mapping[str, Path]) -> None:
        overlay = result.overlay()
        save_image(files["overlay"], overlay)
        result.save_labels(files["labels"])
        if "side by side" in files:
            save_image(files["side by side"], side_by_side([result.image, overlay], ["image", "classes"]))
        if "scores" in files:
            result.save_scores(files["scores"])
            save_image(files["confidence"], result.confidence_image())
            save_image(files["class scores"], result.class_scores_image())

    def _files(self, source: InputImage) -> dict[str, str]:
        return {kind: f"{source.name}_{kind.replace(' ', '_')}.{suffix}" for kind, suffix in self._kinds.items()}

    def _record_file(self, source: InputImage) -> Path:
        return self._folder / f"{source.name}_shares.json"

    def _fingerprint(self, source: InputImage) -> str:
        text = json.dumps([self._settings, self._kinds, _file_state(source.path)])
        return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _output_errors() -> Iterator[None]:
    """Turn errors that every further result would meet too, such as a full disk, into `OutputError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _HOPELESS:
            raise
        raise OutputError(f"cannot write results: {error}") from error


def _file_state(path: Path) -> list[int] | None:
    """Return what changes when a file is written again; None if there is no such file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns]
