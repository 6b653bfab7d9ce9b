"""The panel that says which colour is which class, and how much of the image it covers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from catseg.visualization.canvas import FAINT_INK, INK, PAPER, is_wide, join
from catseg.visualization.text import Color, draw_text, shorten, text_width

_ROW = 1.7  # height of a row, over the font size
_PADDING = 1.0  # free space around the panel, over the font size
_COLUMN_GAP = 1.6  # between columns, over the font size
_MAX_NAME = 15.0  # longest name, over the font size; longer ones are cut
_MAX_COLUMNS_BESIDE = 3
_MIN_ROWS_BELOW = 4


@dataclass(frozen=True)
class LegendEntry:
    """One class of the legend.

    Attributes:
        name: a drawable class name.
        color: RGB, 0..255; None for a line of text without a swatch.
        share: share of the image's pixels, 0..1.
    """

    name: str
    color: Color | None
    share: float


def add_legend(image: NDArray[np.uint8], entries: Sequence[LegendEntry], size: int) -> NDArray[np.uint8]:
    """Put a legend beside an image, or below it if the image is wide.

    Args:
        image: RGB, (H, W, 3).
        entries: in the order of the legend. Those for which there is no room are counted in a last line.
        size: font size in pixels.

    Returns:
        RGB image with the panel at its right or below it; the smaller of the two is extended with white.
    """
    height, width = image.shape[:2]
    column_width = _column_width(entries, size)
    if not is_wide(image.shape):
        rows = _rows_in(height, size)
        panel = _draw_panel(_fold(entries, rows * _MAX_COLUMNS_BESIDE), rows, column_width, size)
        axis = 1
    else:
        columns = max(1, int((width - (2 * _PADDING - _COLUMN_GAP) * size) // (column_width + _COLUMN_GAP * size)))
        shown = _fold(entries, columns * max(_MIN_ROWS_BELOW, _rows_in(height, size)))
        panel = _draw_panel(shown, math.ceil(len(shown) / columns), column_width, size)
        axis = 0
    return join([image, panel], axis)


def _rows_in(height: int, size: int) -> int:
    return max(1, int((height - 2 * _PADDING * size) // (_ROW * size)))


def _fold(entries: Sequence[LegendEntry], room: int) -> list[LegendEntry]:
    """Replace the entries beyond `room` by a line that counts them."""
    if len(entries) <= room:
        return list(entries)
    rest = entries[room - 1 :]
    return [*entries[: room - 1], LegendEntry(f"and {len(rest)} more", None, sum(entry.share for entry in rest))]


def _column_width(entries: Sequence[LegendEntry], size: int) -> float:
    """Width of swatch, name and share, with the spaces between them."""
    widest = max((text_width(entry.name, size) for entry in entries), default=0.0)
    name = max(min(widest, _MAX_NAME * size), text_width("and 000 more", size))
    return _ROW * size + name + size + text_width("100.0 %", size)


def _draw_panel(entries: Sequence[LegendEntry], rows: int, column_width: float, size: int) -> NDArray[np.uint8]:
    columns = max(1, math.ceil(len(entries) / rows))
    width = round(columns * column_width + (columns - 1) * _COLUMN_GAP * size + 2 * _PADDING * size)
    canvas = Image.new("RGB", (width, round(rows * _ROW * size + 2 * _PADDING * size)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, entry in enumerate(entries):
        column, row = divmod(index, rows)
        left = _PADDING * size + column * (column_width + _COLUMN_GAP * size)
        _draw_entry(draw, entry, left, (_PADDING + (row + 0.5) * _ROW) * size, column_width, size)
    return np.asarray(canvas)


def _draw_entry(
    draw: ImageDraw.ImageDraw, entry: LegendEntry, left: float, middle: float, width: float, size: int
) -> None:
    if entry.color is not None:
        half = 0.55 * size
        box = (left, middle - half, left + 2 * half, middle + half)
        draw.rounded_rectangle(box, radius=0.25 * size, fill=entry.color, outline=FAINT_INK)
    share = format_share(entry.share)
    share_left = left + width - text_width(share, size)
    name_left = left + _ROW * size
    name = shorten(entry.name, size, left + width - text_width("100.0 %", size) - 0.5 * size - name_left)
    draw_text(draw, name_left, middle, name, size, INK if entry.color is not None else FAINT_INK)
    draw_text(draw, share_left, middle, share, size, FAINT_INK)


def format_share(share: float) -> str:
    """Write a share, 0..1, as a percentage with one decimal; never as zero if it is not."""
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"
