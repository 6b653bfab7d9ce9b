"""The parts of the page that are plain HTML. All text in it is escaped."""

from collections.abc import Sequence
from html import escape

from catseg.app.drawing import Share, data_url
from catseg.app.examples import Example
from catseg.app.words import Words
from catseg.visualization.legend import format_share

_ROWS = 100  # classes of the table, and notes on names
_NOTES = 10


def status(text: str) -> str:
    """Say what is being done, or was."""
    return f'<p class="catseg-status" role="status">{escape(text)}</p>' if text else ""


def working(text: str) -> str:
    """Say what is being done, with something that moves."""
    return f'<p class="catseg-status" role="status"><progress aria-hidden="true"></progress> {escape(text)} …</p>'


def problem(text: str) -> str:
    """Say what is wrong."""
    return f'<p class="catseg-status catseg-problem" role="alert"><strong>Not done:</strong> {escape(text)}</p>'


def count(words: Words) -> str:
    """Say how many names there are, and what became of some of them."""
    if words.problem:
        return f'<p class="catseg-note catseg-problem">{escape(words.problem)}</p>'
    notes = "".join(f"<li>{escape(note)}</li>" for note in words.notes[:_NOTES])
    more = len(words.notes) - _NOTES
    notes += f"<li>and {more} more such notes</li>" * (more > 0)
    return f'<p class="catseg-note">{words.count}</p>' + f'<ul class="catseg-note">{notes}</ul>' * bool(notes)


def classes(rows: Sequence[Share]) -> str:
    """Make the table of the classes, each with a switch."""
    if not rows:
        return '<p class="catseg-note">None of the names: every pixel is below the threshold.</p>'
    body = "".join(_row(number, row) for number, row in enumerate(rows[:_ROWS]))
    more = len(rows) - _ROWS
    rest = f'<p class="catseg-note">and {more} more classes with smaller shares</p>' * (more > 0)
    return (
        '<table class="catseg-classes"><caption>Classes found; the switches say which are drawn and downloaded'
        '</caption><thead><tr><th scope="col">on</th><th scope="col">class</th><th scope="col">share</th>'
        f'<th scope="col" title="mean probability of its pixels">sure</th></tr></thead><tbody>{body}</tbody></table>'
        f"{rest}"
    )


def _row(number: int, row: Share) -> str:
    return (
        f'<tr><td><input type="checkbox" id="catseg-class-{number}" data-class="{escape(row.key)}"'
        f'{" checked" * row.shown}></td><td><label for="catseg-class-{number}"><span class="catseg-swatch" '
        f'style="background:{row.color}"></span>{escape(row.name)}</label></td>'
        f"<td>{escape(format_share(row.share))}</td><td>{row.score:.2f}</td></tr>"
    )


def examples(shown: Sequence[Example]) -> str:
    """Make buttons of the examples."""
    buttons = "".join(
        f'<button type="button" class="catseg-example" data-example="{number}" title="{escape(example.words)}">'
        f'<img src="{data_url(example.content, "image/png")}" alt="Example: {escape(example.words)}"></button>'
        for number, example in enumerate(shown)
    )
    return f'<div class="catseg-examples"><span>Examples</span>{buttons}</div>'
