"""Results as the files that one takes along."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from catseg.api.result import Result
from catseg.app.drawing import data_url, png
from catseg.atomic import json_text
from catseg.errors import InputError

_PNG, _JSON = "image/png", "application/json"


@dataclass(frozen=True)
class Download:
    """A file.

    Attributes:
        name: of the file.
        content: of the file.
        kind: its MIME type.
    """

    name: str
    content: bytes
    kind: str

    @property
    def url(self) -> str:
        """The file as a `data:` URL."""
        return data_url(self.content, self.kind)


def download(kind: str, result: Result, opacity: float) -> Download:
    """Make a file of a result.

    Args:
        kind: one of `KINDS`.
        result: what was found.
        opacity: of the overlay, 0..1.

    Raises:
        ValueError: if there is no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"there is no download {kind!r}, but {', '.join(KINDS)}")
    content, media_type = _MAKERS[kind](result, opacity)
    stem = result.source.stem if result.source else "image"
    return Download(f"{stem or 'image'}_{kind}.{media_type.rpartition('/')[2]}", content, media_type)


def _labels(result: Result) -> bytes:
    with tempfile.TemporaryDirectory(prefix="catseg-app-") as folder:
        path = Path(folder, "labels.png")
        result.save_labels(path)
        return path.read_bytes()


_MAKERS: Mapping[str, Callable[[Result, float], tuple[bytes, str]]] = {
    "overlay": lambda result, opacity: (png(result.overlay(alpha=opacity)), _PNG),
    "labels": lambda result, _: (_labels(result), _PNG),
    "coco": lambda result, _: (json_text(result.to_coco()).encode(), _JSON),
    "labelme": lambda result, _: (json_text(result.to_labelme()).encode(), _JSON),
}
KINDS = tuple(_MAKERS)
