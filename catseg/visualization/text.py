"""Writing any Unicode text into an image, with the fonts that there are.

The main font is DejaVu Sans, which Matplotlib brings along. Characters that it lacks (Chinese, Japanese, Korean, most
emoji) are drawn in whatever font of the system has them, or else as an empty box.
"""

import logging
import unicodedata
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

Color = tuple[int, int, int]

_MISSING = "\u25a1"  # white square
_CAP_HEIGHT = 0.73  # height of a capital letter over the font size, in DejaVu Sans

logger = logging.getLogger(__name__)


def readable(text: str, fallback: str) -> str:
    """Make a text of one line that can be drawn.

    Args:
        text: any string.
        fallback: returned where no character of `text` can be drawn.

    Returns:
        `text` with white space joined to single spaces, without control characters, and with an empty box for each
        character that no font on this machine has.
    """
    words = " ".join(text.split())
    visible = "".join(c for c in words if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    drawn = "".join(c if c.isspace() or _font_of(c, False) else _MISSING for c in visible)
    return drawn if drawn.strip(_MISSING + " ") else fallback


def text_width(text: str, size: int, *, bold: bool = False) -> float:
    """Return the width in pixels that `draw_text` takes for `text` at font size `size`."""
    return sum(_font(path, size).getlength(run) for path, run in _runs(text, bold))


def shorten(text: str, size: int, max_width: float, *, bold: bool = False) -> str:
    """Cut `text` at its end and add an ellipsis, if it is wider than `max_width` pixels at font size `size`."""
    if text_width(text, size, bold=bold) <= max_width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle].rstrip() + "…", size, bold=bold) <= max_width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


def draw_text(
    draw: ImageDraw.ImageDraw,
    left: float,
    middle: float,
    text: str,
    size: int,
    color: Color,
    *,
    bold: bool = False,
    outline: Color | None = None,
) -> None:
    """Write one line of text into an image.

    Args:
        draw: draws on the image.
        left: where the text begins, in pixels.
        middle: the height of the middle of a capital letter, in pixels.
        text: what `readable` returned, or plain Latin text.
        size: font size in pixels.
        color: of the letters.
        bold: whether to use the bold font.
        outline: colour of a thin line around the letters, for text on a busy background.
    """
    baseline = middle + _CAP_HEIGHT * size / 2
    stroke = 0 if outline is None else max(1, round(size / 11))
    pieces = []
    for path, run in _runs(text, bold):
        pieces.append((left, run, _font(path, size)))
        left += pieces[-1][2].getlength(run)
    if outline is not None:  # first all outlines, so that none covers a letter
        for x, run, font in pieces:
            draw.text((x, baseline), run, outline, font, anchor="ls", stroke_width=stroke, stroke_fill=outline)
    for x, run, font in pieces:
        draw.text((x, baseline), run, color, font, anchor="ls")


def _runs(text: str, bold: bool) -> list[tuple[str, str]]:
    """Cut `text` into (font file, characters) pieces."""
    main = _main_font(bold)
    return [(path, "".join(run)) for path, run in groupby(text, key=lambda c: _font_of(c, bold) or main)]


@lru_cache(maxsize=256)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@cache
def _font_folder() -> Path:
    import matplotlib  # half a second, which those who draw no text do not wait for

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def _main_font(bold: bool) -> str:
    return str(_font_folder() / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"))


@lru_cache(maxsize=4096)
def _font_of(character: str, bold: bool) -> str | None:
    """Find a font file that has the character: the main font, else one of the system's, else None."""
    for path in (_main_font(bold), *_system_fonts()) if ord(character) > 127 else (_main_font(bold),):
        if ord(character) in _characters(path):
            return path
    return None


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[str, ...]:
    from matplotlib import font_manager

    paths = {font.fname for font in font_manager.fontManager.ttflist}
    own = str(_font_folder())
    return tuple(sorted(path for path in paths if not path.startswith(own)))


@lru_cache(maxsize=64)
def _characters(path: str) -> frozenset[int]:
    """Return the code points that a font file has; none if it cannot be used at any size (bitmap fonts)."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        _font(path, 16)
    except (OSError, RuntimeError) as error:
        logger.debug("font %s left out: %s", path, error)
        return frozenset()
    return frozenset(font.get_charmap())
