"""Images that were described by `catseg.engine.ranked_images.draw_images`, made ready for a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from catseg.pages.rendering import css_color, inline_image


def show_images(described: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Put the drawings themselves into their descriptions, and colours as CSS has them.

    Args:
        described: `name`, `iou`, `file` and `classes` of each image, the latter with their `color`.
        folder: of the files.

    Raises:
        OSError: if a file cannot be read.
    """
    return [
        {
            **image,
            "source": inline_image(folder / image["file"]),
            "classes": [{**item, "css": css_color(item["color"])} for item in image["classes"]],
        }
        for image in described
    ]
