"""The page of a benchmark: the table, and of each pair its classes, worst confusions and worst images."""

import base64
import html
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from catseg import __version__
from catseg.atomic import atomic_path
from catseg.benchmark.table import PARTIAL, Row, signed

_OPEN_PAIRS = 2  # that many pairs are shown unfolded from the start
_CLOSE = 0.5  # points of percent within which a number counts as reproduced

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>CAT-Seg benchmark</title>
<style>
:root {{ color-scheme: light dark; --paper: #f5f6f8; --card: #fff; --ink: #212529; --faint: #6c757d; --line: #dee2e6;
  --bar: #1f6fb2; --good: #2b8a3e; --bad: #c92a2a; --track: #e9ecef; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: #16181b; --card: #202327; --ink: #e9ecef; --faint: #9aa1a9; --line: #343a40; --bar: #4dabf7;
    --good: #69db7c; --bad: #ff8787; --track: #2b3035; }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; padding: 2rem; max-width: 82rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.5rem; margin: 0 0 .25rem; }}
h3 {{ font-size: 1rem; margin: 0 0 .5rem; }}
a {{ color: inherit; }}
.faint {{ color: var(--faint); }}
.note {{ border-left: 4px solid #e67700; background: var(--card); padding: .6rem 1rem; margin: 1rem 0;
  overflow-wrap: anywhere; white-space: pre-line; }}
.table {{ overflow-x: auto; margin: 1.25rem 0; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .5rem .9rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
tbody tr:last-child td {{ border-bottom: 0; }}
.number {{ font-weight: 600; font-size: 1.1rem; }}
.small {{ font-size: .85rem; }}
.good {{ color: var(--good); }}
.bad {{ color: var(--bad); }}
details {{ background: var(--card); border: 1px solid var(--line); border-radius: .6rem; margin: 1rem 0; }}
summary {{ padding: .8rem 1.1rem; font-weight: 600; cursor: pointer; }}
.body {{ padding: 0 1.1rem 1.1rem; }}
.facts {{ margin-bottom: 1rem; overflow-wrap: anywhere; }}
.columns {{ display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); }}
.scroll {{ max-height: 26rem; overflow-y: auto; padding-right: .5rem; }}
.row {{ display: grid; grid-template-columns: minmax(0, 1fr) 8rem 3.2rem; gap: .6rem; align-items: center; }}
.row > :first-child {{ overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }}
.row > :last-child {{ text-align: right; font-variant-numeric: tabular-nums; }}
.track {{ height: .55rem; border-radius: .3rem; background: var(--track); overflow: hidden; }}
.track > span {{ display: block; height: 100%; background: var(--bar); }}
.wrong > span {{ background: var(--bad); }}
.cards {{ display: grid; gap: 1.25rem; margin-top: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(34rem, 100%), 1fr)); }}
.card img {{ display: block; width: 100%; border-radius: .3rem; }}
.chips {{ display: flex; flex-wrap: wrap; gap: .1rem .9rem; }}
.chip {{ display: inline-block; width: .75em; height: .75em; border-radius: .2em; margin-right: .4em; }}
</style>
</head>
<body>
<h1>CAT-Seg benchmark</h1>
<div class="faint">{subtitle}</div>
{notes}
<div class="table"><table>
{table}
</table></div>
<div class="faint small">{legend}</div>
{sources}
{pairs}
</body>
</html>
"""


def write_page(
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
    notes = [f"Left out: {name}: {reason}" for name, reason in left_out.items()]
    sources = dict.fromkeys(row.source for row in rows if row.source)
    page = _PAGE.format(
        subtitle=_text(f"catseg {__version__}" + f" · {shlex.join(options)}" * bool(options)),
        notes="\n".join(f'<div class="note">{_text(note)}</div>' for note in notes),
        table=_table(rows),
        legend=_text(_legend(rows)),
        sources="".join(f'<div class="faint small">Published: {_text(source)}</div>' for source in sources),
        pairs="\n".join(
            _pair(row, record, folder, is_open=len(rows) <= _OPEN_PAIRS)
            for row, record, folder in zip(rows, records, folders, strict=True)
        ),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _legend(rows: Sequence[Row]) -> str:
    sentences = ["mIoU in percent."]
    if any(row.published is not None for row in rows):
        sentences.append("Below each number: what is published, and the difference in points.")
    if any(row.partial for row in rows):
        sentences.append(f"{PARTIAL} Not all images of the data set were there.")
    return " ".join(sentences)


def _table(rows: Sequence[Row]) -> str:
    benchmarks = list(dict.fromkeys(row.benchmark for row in rows))
    found = {(row.model, row.benchmark): row for row in rows}
    lines = [
        f"<tr><td>{_text(model)}</td>{''.join(_cell(found.get((model, name))) for name in benchmarks)}</tr>"
        for model in dict.fromkeys(row.model for row in rows)
    ]
    head = "".join(f"<th>{_text(name)}</th>" for name in benchmarks)
    return f"<thead><tr><th>model</th>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>"


def _cell(row: Row | None) -> str:
    if row is None:
        return '<td class="faint">-</td>'
    number = f'<a class="number" href="#{_anchor(row)}">{row.miou:.2f}{PARTIAL * row.partial}</a>'
    if row.published is None:
        return f"<td>{number}</td>"
    beside = f'<span class="faint">{row.published:.1f}</span>'
    if row.difference is not None:
        kind = "bad" if row.difference < -_CLOSE else "good"
        beside += f' <span class="{kind}">{signed(row.difference)}</span>'
    return f'<td>{number}<div class="small">{beside}</div></td>'


def _pair(row: Row, record: Mapping[str, Any], folder: Path, *, is_open: bool) -> str:
    scores = " · ".join(f"{_text(name)} {value:.2f}" for name, value in record["scores"].items() if value is not None)
    of = f" of {row.complete_images}" if row.partial else ""
    run = record["measured"]
    facts = (
        f"{row.images}{of} images in {record['seconds']:.0f} s · {row.date}, {row.device}, processes: "
        f"{run['processes']}, catseg {run['catseg']}, torch {run['torch']} · weights {row.weights}, sha256 {row.sha256}"
    )
    return (
        f'<details id="{_anchor(row)}"{" open" * is_open}>'
        f"<summary>{_text(row.model)} on {_text(row.benchmark)}: {row.miou:.2f}</summary>"
        f'<div class="body"><div class="facts">{scores}<div class="faint small">{_text(facts)}</div></div>'
        f'<div class="columns">{_classes(record["classes"])}{_confusions(record["confusions"])}</div>'
        f"{_worst(record['worst'], folder)}</div></details>"
    )


def _classes(classes: Sequence[Mapping[str, Any]]) -> str:
    rows = "\n".join(
        f'<div class="row" title="{_text(item["name"])}: {100 * item["share"]:.2f} % of the pixels">'
        f"<span>{_text(item['name'])}</span>{_bar(item['iou'] / 100)}<span>{item['iou']:.1f}</span></div>"
        for item in sorted(classes, key=lambda item: item["iou"])
    )
    heading = f"IoU of the {len(classes)} classes that occur, %, worst first"
    return f'<div><h3>{heading}</h3><div class="scroll">{rows}</div></div>'


def _confusions(confusions: Sequence[Mapping[str, Any]]) -> str:
    largest = max((item["of_errors"] for item in confusions), default=1)
    rows = "\n".join(
        f'<div class="row" title="{_text(item["truth"])} taken for {_text(item["predicted"])}: '
        f'{100 * item["of_class"]:.1f} % of the class"><span>{_text(item["truth"])} '
        f'<span class="faint">taken for</span> {_text(item["predicted"])}</span>'
        f"{_bar(item['of_errors'] / largest, wrong=True)}<span>{100 * item['of_errors']:.1f}</span></div>"
        for item in confusions
    )
    return f'<div><h3>Worst confusions, % of all wrong pixels</h3><div class="scroll">{rows}</div></div>'


def _worst(worst: Sequence[Mapping[str, Any]], folder: Path) -> str:
    cards = "\n".join(_card(image, folder) for image in worst)
    return (
        '<h3 style="margin-top: 1.25rem">Worst images</h3><div class="faint small">Image, ground truth, '
        "prediction; below, IoU of the classes that cover most of it. "
        "A name in brackets is not in the ground truth.</div>"
        f'<div class="cards">{cards}</div>'
    )


def _card(image: Mapping[str, Any], folder: Path) -> str:
    data = base64.b64encode((folder / image["file"]).read_bytes()).decode("ascii")
    chips = "".join(_chip(item) for item in image["classes"])
    name = _text(image["name"])
    return (
        f'<div class="card"><img src="data:image/webp;base64,{data}" alt="{name}">'
        f'<div class="small"><b>{image["iou"]:.1f}</b> <span class="faint">{name}</span></div>'
        f'<div class="chips small">{chips}</div></div>'
    )


def _chip(item: Mapping[str, Any]) -> str:
    red, green, blue = (int(value) for value in item["color"])
    name = _text(item["name"])
    there = f"{name} {item['iou']:.0f}" if item["iou"] is not None else f"({name})"
    shares = f"{100 * item['truth']:.1f} % of the pixels, predicted {100 * item['predicted']:.1f} %"
    return (
        f'<span title="{name}: {shares}"><span class="chip" style="background: rgb({red}, {green}, {blue})"></span>'
        f"{there}</span>"
    )


def _bar(share: float, *, wrong: bool = False) -> str:
    return f'<span class="track{" wrong" * wrong}"><span style="width: {100 * share:.1f}%"></span></span>'


def _anchor(row: Row) -> str:
    return "pair-" + re.sub(r"[^\w-]+", "_", f"{row.model}-{row.dataset}")


def _text(text: str) -> str:
    """Escape a text; what is no valid Unicode gets a replacement character."""
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))
