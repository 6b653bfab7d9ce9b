import numpy as np
import pytest
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw

from catseg.visualization import text as text_module
from catseg.visualization.text import draw_text, readable, shorten, text_width


def test_readable_leaves_ordinary_names_alone():
    for name in ("night sky", "Ñandú", "кошка", "école d'été", "a→b"):
        assert readable(name, "#0") == name


def test_readable_joins_lines_and_drops_control_characters():
    assert readable(" night\n\tsky\x07 ", "#0") == "night sky"
    assert readable("a\u200db\ud800c", "#0") == "abc"


@pytest.mark.parametrize("name", ["", "\n", "\ud800", "\U0010ffff", "\u200b"])
def test_readable_falls_back_where_nothing_can_be_drawn(name):
    assert readable(name, "#7") == "#7"


def test_characters_without_a_font_become_boxes(monkeypatch):
    monkeypatch.setattr(text_module, "_system_fonts", tuple)
    text_module._font_of.cache_clear()
    try:
        assert readable("天 sky", "#7") == "□ sky"
        assert readable("天空", "#7") == "#7"
    finally:
        text_module._font_of.cache_clear()


def test_characters_that_the_main_font_lacks_are_drawn_in_another(monkeypatch):
    folder = text_module._font_folder()
    other = str(folder / "STIXGeneral.ttf")
    missing = set(FT2Font(other).get_charmap()) - set(FT2Font(str(folder / "DejaVuSans.ttf")).get_charmap())
    character = chr(next(code for code in sorted(missing) if chr(code).isprintable() and readable(chr(code), "") == ""))
    monkeypatch.setattr(text_module, "_system_fonts", lambda: (other,))
    text_module._font_of.cache_clear()
    try:
        name = readable(f"a{character}b", "#7")
        assert name == f"a{character}b"
        assert [run for _, run in text_module._runs(name, bold=False)] == ["a", character, "b"]
        assert _draw(name).any()
    finally:
        text_module._font_of.cache_clear()


def test_a_font_file_that_cannot_be_read_is_left_out(tmp_path):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    assert text_module._characters(str(broken)) == frozenset()


def test_text_is_drawn_where_its_width_says():
    drawn = _draw("sofa")
    columns = np.flatnonzero(drawn.any(axis=0))
    assert 10 <= columns[0] <= 13
    assert abs(columns[-1] - (10 + text_width("sofa", 20))) <= 3
    rows = np.flatnonzero(_draw("H").any(axis=1))
    assert abs((rows[0] + rows[-1]) / 2 - 30) <= 1.5


def test_an_outline_is_under_the_letters():
    image = Image.new("RGB", (60, 60), "gray")
    draw_text(ImageDraw.Draw(image), 10, 30, "H", 20, (255, 255, 255), outline=(0, 0, 0))
    pixels = np.asarray(image)
    assert (pixels == 255).all(axis=2).any()
    assert (pixels == 0).all(axis=2).any()


def test_shorten():
    assert shorten("sofa", 20, 100) == "sofa"
    short = shorten("a very long name of a class", 20, 100)
    assert short.endswith("…")
    assert 60 < text_width(short, 20) <= 100
    assert shorten("sofa", 20, 0) == "…"


def _draw(text):
    image = Image.new("L", (120, 60))
    draw_text(ImageDraw.Draw(image), 10, 30, text, 20, 255)
    return np.asarray(image) > 128
