"""Class colours: a class keeps its colour however many classes there are."""

import cv2
import numpy as np
from numpy.typing import NDArray

IGNORED_COLOR = (128, 128, 128)

# The first classes' colours, chosen by hand; the greedy search below continues from them.
_FIRST_COLORS = (
    (31, 119, 180),
    (255, 127, 14),
    (44, 160, 44),
    (214, 39, 40),
    (148, 103, 189),
    (23, 190, 207),
    (227, 119, 194),
    (188, 189, 34),
    (140, 86, 75),
    (255, 215, 64),
)
_GRID_STEP = 11  # of the candidates, per RGB channel
_LIGHTNESS = (38.0, 88.0)  # CIELAB: neither lost on black nor on white
_CHROMA = (22.0, 78.0)  # CIELAB: never mistaken for the grey of ignored pixels, never glaring

_cache = np.array(_FIRST_COLORS, dtype=np.uint8)


def palette(n: int) -> NDArray[np.uint8]:
    """Return the colours of the first `n` classes.

    Each colour after the hand-chosen ones is the candidate farthest, in CIELAB, from all earlier colours; so class
    `k` has the same colour for every `n > k`. When the candidates run out, after several thousand, colours repeat.

    Args:
        n: number of classes, 0 or more.

    Returns:
        RGB colours 0..255, of shape (n, 3).

    Raises:
        ValueError: if `n` is negative.
    """
    if n < 0:
        raise ValueError(f"a palette has 0 or more colours, got {n}")
    global _cache
    if n > len(_cache):
        candidates = _candidates()
        _cache = _extend(_cache, candidates, min(n, len(_FIRST_COLORS) + len(candidates)))
    return _cache[np.arange(n) % len(_cache)]


def _candidates() -> NDArray[np.uint8]:
    axis = np.arange(0, 256, _GRID_STEP, dtype=np.uint8)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _to_lab(grid)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    keep = _between(lab[:, 0], _LIGHTNESS) & _between(chroma, _CHROMA)
    return grid[keep]


def _extend(colors: NDArray[np.uint8], candidates: NDArray[np.uint8], n: int) -> NDArray[np.uint8]:
    candidate_lab = _to_lab(candidates)
    nearest = np.full(len(candidates), np.inf)
    for lab in _to_lab(colors):
        np.minimum(nearest, np.square(candidate_lab - lab).sum(axis=1), out=nearest)
    chosen = list(colors)
    while len(chosen) < n:
        best = int(nearest.argmax())
        chosen.append(candidates[best])
        np.minimum(nearest, np.square(candidate_lab - candidate_lab[best]).sum(axis=1), out=nearest)
    return np.array(chosen, dtype=np.uint8)


def _to_lab(colors: NDArray[np.uint8]) -> NDArray[np.float64]:
    # Rounded, so that the order of near-equal distances does not depend on the machine's last float32 digit.
    lab = cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[0]
    return np.round(lab.astype(np.float64), 2)


def _between(values: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.bool_]:
    return (values >= limits[0]) & (values <= limits[1])
