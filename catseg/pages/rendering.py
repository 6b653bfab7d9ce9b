"""The Jinja2 environment of all pages, and what goes into them as text: colours and images."""

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from catseg.atomic import atomic_path


def render(template: str, **values: Any) -> str:
    """Fill a template.

    Args:
        template: its file name in `catseg/pages/templates`.
        values: what it names; text is escaped.

    Returns:
        The page. What is no valid Unicode, as in some file names, is a replacement character.

    Raises:
        jinja2.UndefinedError: if the template names a value that is not given.
    """
    return _environment().get_template(template).render(values).encode("utf-8", "replace").decode("utf-8")


def write_page(path: str | Path, page: str) -> None:
    """Write a page whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def inline_image(path: Path) -> str:
    """Return an image file as a `data:` URL.

    Raises:
        OSError: if it cannot be read.
    """
    kind = Image.MIME[Image.registered_extensions()[path.suffix.lower()]]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def css_color(rgb: Sequence[int]) -> str:
    """Return an RGB colour, 0..255, as CSS has it."""
    red, green, blue = (int(value) for value in rgb)
    return f"rgb({red}, {green}, {blue})"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("catseg.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
