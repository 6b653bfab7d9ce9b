"""The contact sheet: one HTML page that shows and links all results."""

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from catseg.atomic import atomic_path
from catseg.visualization import palette

_CLASSES_PER_CARD = 6

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>CAT-Seg</title>
<style>
:root {{ color-scheme: light dark; --paper: #f5f6f8; --card: #fff; --ink: #212529; --faint: #6c757d; --line: #dee2e6; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: #16181b; --card: #202327; --ink: #e9ecef; --faint: #9aa1a9; --line: #343a40; }}
}}
body {{ margin: 0; padding: 2rem; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.5rem; margin: 0 0 .25rem; }}
a {{ color: inherit; }}
.faint {{ color: var(--faint); }}
.note {{ border-left: 4px solid #e67700; background: var(--card); padding: .6rem 1rem; margin: 1rem 0; }}
.cards {{ display: grid; gap: 1.25rem; margin-top: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }}
.card {{ background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; }}
.card img {{ display: block; width: 100%; height: 17rem; object-fit: contain; background: #fff; }}
.text {{ padding: .8rem 1rem 1rem; }}
.name {{ font-weight: 600; overflow-wrap: anywhere; }}
.bar {{ display: flex; height: .5rem; border-radius: .25rem; overflow: hidden; margin: .5rem 0; background: #808080; }}
.classes {{ display: flex; flex-wrap: wrap; gap: .1rem .9rem; }}
.chip {{ display: inline-block; width: .75em; height: .75em; border-radius: .2em; margin-right: .4em; }}
.links {{ margin-top: .5rem; display: flex; flex-wrap: wrap; gap: 0 .9rem; }}
</style>
</head>
<body>
<h1>CAT-Seg</h1>
<div class="faint">images: {count} · classes looked for: {classes}</div>
{notes}
<div class="cards">
{cards}
</div>
</body>
</html>
"""


def write_gallery(
    path: Path,
    records: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    *,
    failed: Mapping[str, str],
    trained: bool,
) -> None:
    """Write the page.

    Args:
        path: the HTML file, in the output folder.
        records: of each image: `name`; `classes`, from name to share of the pixels; `files`, from kind to path
            relative to the output folder.
        classes: all class names; they decide the colours.
        failed: why an image has no result, by image.
        trained: whether the model had trained weights.

    Raises:
        OSError: if the page cannot be written.
    """
    colors = dict(zip(classes, (f"rgb({r}, {g}, {b})" for r, g, b in palette(len(classes))), strict=True))
    notes = []
    if not trained:
        notes.append("The network has no trained weights: these results are random.")
    notes.extend(f"{name}: {error}" for name, error in failed.items())
    page = _PAGE.format(
        count=len(records),
        classes=len(classes),
        notes="\n".join(f'<div class="note">{_text(note)}</div>' for note in notes),
        cards="\n".join(_card(record, colors) for record in records),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _card(record: Mapping[str, Any], colors: Mapping[str, str]) -> str:
    shares = record["classes"]
    bar = "".join(
        f'<span style="width: {100 * share:.2f}%; background: {colors[name]}" title="{_text(name)}"></span>'
        for name, share in shares.items()
    )
    shown = list(shares.items())[:_CLASSES_PER_CARD]
    chips = "".join(
        f'<span><span class="chip" style="background: {colors[name]}"></span>{_text(name)} '
        f'<span class="faint">{100 * share:.1f} %</span></span>'
        for name, share in shown
    )
    more = f'<span class="faint">and {len(shares) - len(shown)} more</span>' if len(shares) > len(shown) else ""
    files = record["files"]
    links = "".join(f'<a href="{_url(file)}">{_text(kind)}</a>' for kind, file in files.items())
    overlay = _url(files["overlay"])
    return (
        f'<div class="card"><a href="{overlay}"><img loading="lazy" src="{overlay}" alt="{_text(record["name"])}"></a>'
        f'<div class="text"><div class="name">{_text(record["name"])}</div><div class="bar">{bar}</div>'
        f'<div class="classes">{chips}{more}</div><div class="links">{links}</div></div></div>'
    )


def _text(text: str) -> str:
    """Escape a text; file names that are no valid Unicode get a replacement character."""
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def _url(relative: str) -> str:
    return quote(os.fsencode(Path(relative).as_posix()))
