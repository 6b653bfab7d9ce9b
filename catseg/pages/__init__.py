"""HTML pages, made with Jinja2 from the templates in `templates/`; each is one file that needs no network."""

from catseg.pages.rendering import css_color, inline_image, render, write_page

__all__ = ["css_color", "inline_image", "render", "write_page"]
