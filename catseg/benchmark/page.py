"""The page of a benchmark: the table, and of each pair its classes, worst confusions and worst images."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from catseg import __version__
from catseg.benchmark.table import PARTIAL, Row, signed
from catseg.pages import render, write_page
from catseg.pages.scored_images import show_images

_OPEN_PAIRS = 2  # that many pairs are shown unfolded from the start
_CLOSE = 0.5  # points of percent within which a number counts as reproduced


def write_benchmark_page(
    path: Path,
    rows: Sequence[Row],
    records: Sequence[Mapping[str, Any]],
    *,
    folders: Sequence[Path],
    options: Sequence[str],
    left_out: Mapping[str, str],
) -> None:
    """Write the page.

    Args:
        path: the HTML file. It needs no other file.
        rows: of the table.
        records: of `read_pair`, one per row.
        folders: of the pairs, with their images, one per row.
        options: overrides of all configs.
        left_out: why pairs are not in the table, by their names.

    Raises:
        OSError: if images cannot be read, or the page not be written.
    """
    benchmarks = list(dict.fromkeys(row.benchmark for row in rows))
    found = {(row.model, row.benchmark): row for row in rows}
    page = render(
        "benchmark.html",
        title="CAT-Seg benchmark",
        subtitle=f"catseg {__version__}" + f" · {shlex.join(options)}" * bool(options),
        notes=[f"Left out: {name}: {reason}" for name, reason in left_out.items()],
        benchmarks=benchmarks,
        table={
            model: [_cell(found.get((model, name))) for name in benchmarks]
            for model in dict.fromkeys(row.model for row in rows)
        },
        legend=_legend(rows),
        sources=list(dict.fromkeys(row.source for row in rows if row.source)),
        pairs=[
            {**_pair(row, record, folder), "open": len(rows) <= _OPEN_PAIRS}
            for row, record, folder in zip(rows, records, folders, strict=True)
        ],
    )
    write_page(path, page)


def _legend(rows: Sequence[Row]) -> str:
    sentences = ["mIoU in percent."]
    if any(row.published is not None for row in rows):
        sentences.append("Below each number: what is published, and the difference in points.")
    if any(row.partial for row in rows):
        sentences.append(f"{PARTIAL} Not all images of the data set were there.")
    return " ".join(sentences)


def _cell(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "anchor": _anchor(row),
        "number": f"{row.miou:.2f}{PARTIAL * row.partial}",
        "published": None if row.published is None else f"{row.published:.1f}",
        "difference": None if row.difference is None else signed(row.difference),
        "reproduced": row.difference is not None and row.difference >= -_CLOSE,
    }


def _pair(row: Row, record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    of = f" of {row.complete_images}" if row.partial else ""
    run = record["measured"]
    return {
        "anchor": _anchor(row),
        "title": f"{row.model} on {row.benchmark}: {row.miou:.2f}",
        "scores": " · ".join(f"{name} {value:.2f}" for name, value in record["scores"].items() if value is not None),
        "facts": (
            f"{row.images}{of} images in {record['seconds']:.0f} s · {row.date}, {row.device}, "
            f"processes: {run['processes']}, catseg {run['catseg']}, torch {run['torch']} · "
            f"weights {row.weights}, sha256 {row.sha256}"
        ),
        "classes": record["classes"],
        "confusions": record["confusions"],
        "worst": show_images(record["worst"], folder),
    }


def _anchor(row: Row) -> str:
    return "pair-" + re.sub(r"[^\w-]+", "_", f"{row.model}-{row.dataset}")
