"""Curves as SVG: the geometry, in pixels; `templates/parts.html` draws it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catseg.pages.rendering import css_color
from catseg.visualization import palette

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 30  # margins, for the numbers on the axes
_MOST_POINTS = 400  # of a line; neighbours of longer ones are averaged
_MOST_DOTS = 40  # lines of up to that many points have a dot at each

Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    """A number on an axis: its place in pixels, and its text."""

    place: float
    text: str


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        name: for the legend.
        color: as CSS has it.
        points: x and y in pixels.
        dots: the points that are marked: x and y in pixels, and what is said of them.
        last: its last value.
    """

    name: str
    color: str
    points: Sequence[Point]
    dots: Sequence[tuple[float, float, str]]
    last: str


@dataclass(frozen=True)
class Chart:
    """Curves over the iterations, ready to be drawn.

    Attributes:
        title: of the chart.
        lines: at least one.
        x_ticks: numbers below.
        y_ticks: numbers on the left.
    """

    title: str
    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def curves(title: str, series: Mapping[str, Sequence[Point]], *, last: float, from_zero: bool = False) -> Chart | None:
    """Lay out curves.

    Args:
        title: of the chart.
        series: points, x and y, by the name of each curve, in the order of x, none beyond `last`; all finite.
        last: where the horizontal axis ends, which begins at 0.
        from_zero: whether the vertical axis begins at 0 rather than near the lowest value.

    Returns:
        The chart; None if there is no point.
    """
    thinned = {name: _thin(points) for name, points in series.items() if points}
    if not thinned:
        return None
    ys = [y for points in thinned.values() for _, y in points]
    across = _ticks(0, last)
    up = _ticks(min([0.0] if from_zero else ys), max(ys))
    y_ends = (min(up[0], *ys), max(up[-1], *ys))
    colors = palette(len(thinned))

    def place(point: Point) -> Point:
        return (
            round(LEFT + point[0] / last * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - (point[1] - y_ends[0]) / (y_ends[1] - y_ends[0]) * (HEIGHT - TOP - BOTTOM), 1),
        )

    lines = []
    for (name, points), color in zip(thinned.items(), colors, strict=True):
        placed = [place(point) for point in points]
        dots = [
            (x, y, f"{name}: {value:.4g} at {step:g}")
            for (x, y), (step, value) in zip(placed, points, strict=True)
            if len(points) <= _MOST_DOTS
        ]
        lines.append(Line(name, css_color(color), placed, dots, f"{series[name][-1][1]:.4g}"))
    return Chart(
        title,
        lines,
        [Tick(place((x, y_ends[0]))[0], f"{x:g}") for x in across if x <= last],
        [Tick(place((0, y))[1], f"{y:g}") for y in up],
    )


def _thin(points: Sequence[Point]) -> Sequence[Point]:
    size = math.ceil(len(points) / _MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def _ticks(low: float, high: float) -> list[float]:
    """Return three to eight round numbers, in steps of 1, 2 or 5 times a power of ten, from `low` or below to `high`.

    The last one is `high` or above.
    """
    span = (high - low) or abs(high) or 1.0
    rough = span / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]
