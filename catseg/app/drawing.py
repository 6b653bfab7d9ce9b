"""Results as pictures that a page can hold: no larger than a screen, and never files."""

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseg.api.result import Result
from catseg.visualization import class_shares, heatmap, palette, short_names
from catseg.visualization.canvas import enlarge, enlargement

HOVERED = 20  # classes that light up one by one; a browser gets slow with many masks

_SIDE = 1280  # longer side of a picture on the page, in pixels
_QUALITY = 90  # of JPEG
_MASK_ALPHA = 170  # 0..255: how much a region that lights up covers
_REST_COLOR = "#9aa0a6"

Rgb = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Region:
    """Where something is.

    Attributes:
        mask: (H, W).
        label: what it is.
        color: as CSS has it.
    """

    mask: NDArray[np.bool_]
    label: str
    color: str


@dataclass(frozen=True)
class Share:
    """A row of the table of classes.

    Attributes:
        key: the class.
        name: of the class, as it is drawn.
        color: as CSS has it.
        share: of the pixels, 0..1.
        score: mean probability where it is, 0..1.
        shown: whether it is switched on.
    """

    key: str
    name: str
    color: str
    share: float
    score: float
    shown: bool


def without(result: Result, hidden: Collection[str]) -> Result:
    """Return a result in which the pixels of some classes have none."""
    if result.found is None or not hidden:
        return result
    places = [place for place, name in enumerate(result.names) if name in hidden]
    labels = np.where(np.isin(result.labels, places), -1, result.labels).astype(np.int32)
    return replace(result, found=replace(result.found, labels=labels))


def for_screen(result: Result) -> Result:
    """Return a result whose image fits a screen, without probabilities of single classes."""
    height, width = result.labels.shape
    scale = _SIDE / max(height, width)
    if result.found is None or scale >= 1:
        return result
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    found = replace(
        result.found,
        image=cv2.resize(result.image, size, interpolation=cv2.INTER_AREA),
        labels=cv2.resize(result.labels, size, interpolation=cv2.INTER_NEAREST),
        scores=cv2.resize(result.scores, size, interpolation=cv2.INTER_AREA),
        logits=None,
    )
    return replace(result, found=found)


def comparison(small: Result, opacity: float) -> tuple[Rgb, Rgb]:
    """Return image and overlay of a result for the screen, of one size."""
    return enlarge(small.image), small.overlay(alpha=opacity, legend=False)


def regions(small: Result) -> tuple[Rgb, list[Region]]:
    """Return image and regions of a result for the screen: the largest classes, and the rest as one."""
    shares = class_shares(small.labels, len(small.names))
    order = [int(place) for place in np.argsort(-shares, kind="stable") if shares[place] > 0]
    factor = enlargement(small.image.shape)
    labels = small.labels.repeat(factor, axis=0).repeat(factor, axis=1)
    titles, colors = short_names(small.names), palette(len(small.names))
    found = [Region(labels == place, titles[place], _css(colors[place])) for place in order[:HOVERED]]
    rest = order[HOVERED:]
    if rest:
        found.append(Region(np.isin(labels, rest), f"{len(rest)} more", _REST_COLOR))
    return enlarge(small.image), found


def table(result: Result, hidden: Collection[str], *, background: bool) -> list[Share]:
    """Return the classes in an image, most first; the last of the names may be a background."""
    titles = dict(zip(result.names, short_names(result.names), strict=True))
    colors = dict(zip(result.names, palette(len(result.names)), strict=True))
    pixels = np.maximum(np.bincount(result.labels[result.labels >= 0], minlength=len(result.names)), 1)
    inside = result.labels >= 0
    sums = np.bincount(result.labels[inside], weights=result.scores[inside], minlength=len(result.names))
    means = sums / pixels
    if background:  # is as probable as all else is not
        means[-1] = 1 - means[-1]
    scores = dict(zip(result.names, means, strict=True))
    return [
        Share(name, titles[name], _css(colors[name]), share, float(scores[name]), name not in hidden)
        for name, share in result.share().items()
    ]


def score_map(small: Result, scores: NDArray[np.float32]) -> Rgb:
    """Draw probabilities, 0..1, (H, W) of any size, over the image of a result for the screen."""
    return heatmap(small.image, cv2.resize(scores, small.image.shape[1::-1], interpolation=cv2.INTER_AREA))


def jpeg_url(image: Rgb) -> str:
    """Return an RGB image as a `data:` URL."""
    return data_url(_encoded(Image.fromarray(image), "JPEG", {"quality": _QUALITY}), "image/jpeg")


def png(image: Rgb) -> bytes:
    """Return an RGB image as a PNG file."""
    return _encoded(Image.fromarray(image), "PNG", {})


def mask_url(region: Region) -> str:
    """Return a region in its colour, with nothing around it, as a `data:` URL."""
    image = Image.fromarray(region.mask.astype(np.uint8))
    color = tuple(int(region.color[i : i + 2], 16) for i in (1, 3, 5))
    image.putpalette(bytes((0, 0, 0, *color)))
    return data_url(_encoded(image, "PNG", {"transparency": bytes((0, _MASK_ALPHA))}), "image/png")


def data_url(content: bytes, kind: str) -> str:
    """Return content of a MIME type as a `data:` URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def preview(image: Rgb) -> Rgb:
    """Return an image of about the size of a screen."""
    scale = _SIDE / max(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else enlarge(image)


def color_map(found: Sequence[Region]) -> Mapping[str, str]:
    """Return the colours of regions by label."""
    return {region.label: region.color for region in found}


def _encoded(image: Image.Image, format_name: str, options: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def _css(color: NDArray[np.uint8]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(int(value) for value in color))
