"""Images of scores: how sure the model is, and where it sees a class."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from catseg.visualization.canvas import FAINT_INK, INK, PAPER, add_title, check_pair, enlarge, font_size, join
from catseg.visualization.text import draw_text, text_width

_COLOR_SHARE = 0.72  # of the colour scale; the rest is the photograph in grey
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_TILE_SIDE = 360  # longer side of a tile of the score grid, in pixels
_TILE_TITLE = 14  # font size
_MAX_COLUMNS = 4


def heatmap(image: NDArray[np.uint8], scores: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Draw a map of scores over its image, with a colour bar from 0 to 1 beside it.

    Args:
        image: RGB 0..255, (H, W, 3); enlarged if small, as in `overlay`.
        scores: 0..1, (H, W). Values outside are drawn as the nearer end of the scale, NaN as 0.

    Returns:
        RGB 0..255, wider than the image by the colour bar.

    Raises:
        ValueError: if the shapes or types are not as above.
    """
    image, scores = check_pair(image, scores)
    drawing = _color_scores(enlarge(image), scores)
    return join([drawing, _color_bar(drawing.shape[0], font_size(drawing.shape))], axis=1)


def score_grid(
    image: NDArray[np.uint8], class_scores: NDArray[np.floating], titles: Sequence[str]
) -> NDArray[np.uint8]:
    """Draw the score maps of several classes as a grid of small images with one colour scale.

    Args:
        image: RGB 0..255, (H, W, 3).
        class_scores: 0..1, (T, H, W), T > 0.
        titles: drawable names of the classes, as of `short_names`.

    Returns:
        RGB 0..255.

    Raises:
        ValueError: if the shapes or types are not as above.
    """
    if len(class_scores) != len(titles) or not len(titles):
        raise ValueError(f"expected score maps with a title each, got {len(class_scores)} and {len(titles)}")
    for scores in class_scores:
        check_pair(image, scores)
    scale = _TILE_SIDE / max(image.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    tiles = [
        add_title(_color_scores(small, scores), title, _TILE_TITLE)
        for scores, title in zip(class_scores, titles, strict=True)
    ]
    rows = [join(tiles[i : i + _MAX_COLUMNS], axis=1, gap=8) for i in range(0, len(tiles), _MAX_COLUMNS)]
    grid = join(rows, axis=0, gap=8)
    return join([grid, _color_bar(grid.shape[0], _TILE_TITLE)], axis=1)


def _color_scores(image: NDArray[np.uint8], scores: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Tint an image by scores, which are resized to it."""
    levels = np.round(255 * np.clip(np.nan_to_num(scores.astype(np.float32)), 0, 1)).astype(np.uint8)
    levels = cv2.resize(levels, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(_scale_colors(levels), _COLOR_SHARE, grey, 1 - _COLOR_SHARE, 0)


def _scale_colors(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def _color_bar(height: int, size: int) -> NDArray[np.uint8]:
    """Draw the scale, as high as the image, with as many ticks as there is room for."""
    bar_left, bar_width = round(0.8 * size), round(1.1 * size)
    text_left = bar_left + bar_width + 0.5 * size
    width = round(text_left + text_width("0.00", size) + 0.5 * size)
    top, bottom = round(0.8 * size), max(round(0.8 * size) + 1, height - round(0.8 * size))
    canvas = np.full((max(height, bottom + 1), width, 3), PAPER, dtype=np.uint8)
    levels = np.linspace(255, 0, bottom - top).round().astype(np.uint8)[:, None].repeat(bar_width, axis=1)
    canvas[top:bottom, bar_left : bar_left + bar_width] = _scale_colors(levels)
    drawing = Image.fromarray(canvas)
    draw = ImageDraw.Draw(drawing)
    draw.rectangle((bar_left - 1, top - 1, bar_left + bar_width, bottom), outline=FAINT_INK)
    for tick in _TICKS if bottom - top > 8 * size else (_TICKS[0], _TICKS[-1]):
        draw_text(draw, text_left, bottom - tick * (bottom - top), f"{tick:.2f}", size, INK)
    return np.asarray(drawing)
