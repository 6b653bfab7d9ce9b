import re
import tomllib
from pathlib import Path

import jinja2
import numpy as np
import pytest

from catseg.pages import css_color, inline_image, render, write_page
from catseg.visualization import save_image

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_images_become_urls_of_their_kind(tmp_path, suffix):
    save_image(tmp_path / f"a.{suffix}", np.zeros((2, 3, 3), dtype=np.uint8))
    kind = {"jpg": "jpeg"}.get(suffix, suffix)
    assert re.fullmatch(rf"data:image/{kind};base64,[\w+/]+=*", inline_image(tmp_path / f"a.{suffix}"))


def test_all_templates_are_in_the_wheel():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    files = (ROOT / "catseg" / "pages" / "templates").iterdir()
    assert [file.name for file in files if not any(file.match(pattern) for pattern in data)] == []


def test_colours():
    assert css_color(np.array([1, 2, 255], dtype=np.uint8)) == "rgb(1, 2, 255)"


def test_text_is_escaped_and_valid():
    page = render("base.html", title="<b>caf\udce9</b>", subtitle="&")
    assert "&lt;b&gt;caf?&lt;/b&gt;" in page
    assert '<div class="faint">&amp;</div>' in page


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="subtitle"):
        render("base.html", title="a")


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    write_page(tmp_path / "new" / "a.html", "é")
    assert (tmp_path / "new" / "a.html").read_bytes() == "é".encode()
    with pytest.raises(UnicodeEncodeError):
        write_page(tmp_path / "new" / "a.html", "\udce9")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.html"]
    assert (tmp_path / "new" / "a.html").read_bytes() == "é".encode()
