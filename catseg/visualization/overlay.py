"""A photograph with its classes coloured in, named, and listed in a legend."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from catseg.visualization.canvas import check_pair, enlarge, enlargement, font_size
from catseg.visualization.legend import LegendEntry, add_legend
from catseg.visualization.palette import IGNORED_COLOR, palette
from catseg.visualization.region_names import draw_region_names
from catseg.visualization.text import readable
from catseg.vocabulary import Vocabulary

_MAX_BORDER = 0.45  # share of a pixel's surroundings that borders may cover


def overlay(
    image: NDArray[np.uint8],
    labels: NDArray[np.integer],
    names: Sequence[str],
    colors: ArrayLike | None = None,
    *,
    alpha: float = 0.5,
    legend: bool = True,
) -> NDArray[np.uint8]:
    """Draw a label map over its image.

    Each region is tinted, outlined and, where it is large enough, named. Of the synonyms of a class in a `Vocabulary`,
    the first is written, unless another class begins with the same one. Pixels without a class are grey. An image whose
    longer side is below 512 pixels is enlarged by a whole factor, so that the names can be read.

    Args:
        image: RGB 0..255, (H, W, 3).
        labels: class of each pixel, (H, W). Values outside 0..len(names) - 1, such as 255, are pixels without class.
        names: class names, a `Vocabulary` or others; any Unicode.
        colors: RGB 0..255 per class, (len(names), 3); `palette(len(names))` by default.
        alpha: how much of the class colour is seen, 0..1.
        legend: whether to add a panel with the classes in the image and their shares of its pixels.

    Returns:
        RGB 0..255; of the (enlarged) image's size, and with a legend wider, or higher for wide images.

    Raises:
        ValueError: if shapes, types or `alpha` are not as above.
    """
    image, labels = check_pair(image, labels)
    table = _color_table(names, colors)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is a share from 0 to 1, got {alpha}")
    known = np.where((labels >= 0) & (labels < len(names)), labels, -1).astype(np.int32)
    shares = class_shares(known, len(names))

    factor = enlargement(image.shape)
    image, known = enlarge(image), known.repeat(factor, axis=0).repeat(factor, axis=1)
    drawing = _tint(image, known, table, alpha)
    _outline(drawing, known, table)
    size = font_size(known.shape)
    short = short_names(names)
    draw_region_names(drawing, known, short, size)
    if not legend:
        return drawing
    return add_legend(drawing, _legend_entries(short, table, shares), size)


def class_shares(labels: NDArray[np.integer], num_classes: int) -> NDArray[np.float64]:
    """Return the share of all pixels, 0..1, that each class covers; other label values count as no class."""
    valid = labels[(labels >= 0) & (labels < num_classes)]
    return np.bincount(valid, minlength=num_classes) / max(1, labels.size)


def short_names(names: Sequence[str]) -> list[str]:
    """Return drawable names: the short ones of a `Vocabulary`, others whole."""
    chosen = names.short_names if isinstance(names, Vocabulary) else names
    return [readable(name, f"#{index}") for index, name in enumerate(chosen)]


def _color_table(names: Sequence[str], colors: ArrayLike | None) -> NDArray[np.uint8]:
    """Colours of the classes and, in the last row (label -1), of pixels without class."""
    table = palette(len(names)) if colors is None else np.asarray(colors)
    if table.shape != (len(names), 3) or (len(names) and (table.min() < 0 or table.max() > 255)):
        raise ValueError(f"expected {len(names)} RGB colours 0..255 of shape ({len(names)}, 3), got {table.shape}")
    return np.concatenate([table.astype(np.uint8), np.array([IGNORED_COLOR], dtype=np.uint8)])


def _tint(image: NDArray, labels: NDArray, table: NDArray, alpha: float) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    # Half the photograph's own colour is taken away, so that a tint looks the same on grass as on sky.
    calm = cv2.addWeighted(image, 0.5, grey, 0.5, 0)
    return cv2.addWeighted(table[labels], alpha, calm, 1 - alpha, 0)


def _outline(drawing: NDArray[np.uint8], labels: NDArray, table: NDArray) -> None:
    """Draw, in place, the inner border of each region in its full colour and a thin white line between regions.

    Speckle, where borders would cover everything, is left as it is.
    """
    border = np.zeros(labels.shape, dtype=np.uint8)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    width = max(1, round(float(np.sqrt(labels.size)) / 400))
    side = 8 * width + 1
    border[cv2.boxFilter(border, cv2.CV_32F, (side, side)) * width > _MAX_BORDER] = 0
    band = cv2.dilate(border, np.ones((2 * width + 1, 2 * width + 1), np.uint8)) > 0
    drawing[band] = table[labels[band]]
    line = cv2.dilate(border, np.ones((width, width), np.uint8)) > 0
    drawing[line] = 255


def _legend_entries(names: Sequence[str], table: NDArray, shares: NDArray[np.float64]) -> list[LegendEntry]:
    order = np.argsort(-shares, kind="stable")
    entries = [LegendEntry(names[i], _rgb(table[i]), float(shares[i])) for i in order if shares[i] > 0]
    rest = 1.0 - float(shares.sum())
    if rest > 1e-9:
        entries.append(LegendEntry("no class", IGNORED_COLOR, rest))
    return entries


def _rgb(color: NDArray[np.uint8]) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in color)
    return red, green, blue
