"""The contact sheet of a segmented folder: one page that shows and links all results."""

import mimetypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from catseg.pages.rendering import css_color, render, write_page
from catseg.visualization import palette

_CLASSES_PER_CARD = 6


def write_gallery(
    path: Path,
    records: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    *,
    failed: Mapping[str, str],
    trained: bool,
) -> None:
    """Write the page of `gallery` to a file in the folder of the results.

    Raises:
        OSError: if it cannot be written.
    """
    write_page(path, gallery(records, classes, failed=failed, trained=trained))


def gallery(
    records: Sequence[Mapping[str, Any]], classes: Sequence[str], *, failed: Mapping[str, str], trained: bool
) -> str:
    """Return the page, which belongs into the folder of the results.

    Args:
        records: of each image or video: `name`; `classes`, from name to share of the pixels; `files`, from kind to path
            relative to the folder, among them the `overlay`.
        classes: all class names; they decide the colours.
        failed: why an image has no result, by image.
        trained: whether the model had trained weights.
    """
    colors = dict(zip(classes, map(css_color, palette(len(classes))), strict=True))
    random = [] if trained else ["The network has no trained weights: these results are random."]
    return render(
        "gallery.html",
        title="CAT-Seg",
        subtitle=f"images: {len(records)} · classes looked for: {len(classes)}",
        notes=[*random, *(f"{name}: {error}" for name, error in failed.items())],
        cards=[_card(record, colors) for record in records],
    )


def _card(record: Mapping[str, Any], colors: Mapping[str, str]) -> dict[str, Any]:
    shares = [(name, share, colors[name]) for name, share in record["classes"].items()]
    overlay = record["files"]["overlay"]
    return {
        "name": record["name"],
        "overlay": _url(overlay),
        "is_video": (mimetypes.guess_type(overlay)[0] or "").startswith("video/"),
        "links": {kind: _url(file) for kind, file in record["files"].items()},
        "shares": shares,
        "shown": shares[:_CLASSES_PER_CARD],
    }


def _url(relative: str) -> str:
    return quote(os.fsencode(Path(relative).as_posix()))
