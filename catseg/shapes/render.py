"""Draws textured patches on textured grounds, many images at a time, with exact label maps.

Shapes: N images, K places for objects per image, M objects of one kind, S the side of an image in pixels.
Colours are RGB, 0..255. Everything random comes from the `torch.Generator` that is passed in.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from catseg.shapes.classes import BACKGROUNDS, COLOURS, MAX_OBJECTS, TEXTURES

_PASTEL = 0.45  # share of white in a pastel
_RADII = {1: (0.22, 0.42), 2: (0.20, 0.30), 3: (0.17, 0.25)}  # of an outline, in image sides, by number of objects


def render(
    colours: Tensor,
    textures: Tensor,
    backgrounds: Tensor,
    *,
    size: int,
    generator: torch.Generator,
    enlargement: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw one image per row.

    Args:
        colours: (N, K) index into `COLOURS` of each object, -1 where there is none; objects fill the first places.
        textures: (N, K) index into `TEXTURES`; ignored where `colours` is -1.
        backgrounds: (N,) index into `BACKGROUNDS`.
        size: side S of the images, in pixels.
        generator: source of every random choice: places, outlines, pattern scale and angle, lighting and noise.
        enlargement: (N,) factor on the size of the objects' outlines, 1 when omitted; patterns keep their scale.

    Returns:
        Images, uint8 (N, 3, S, S), and for every pixel the place (0..K-1) of the object it shows, -1 for the
        background, int64 (N, S, S). Later places cover earlier ones.
    """
    canvas = _draw_backgrounds(backgrounds, size, generator)
    count = (colours >= 0).sum(dim=1)
    image_index, place = torch.nonzero(colours >= 0, as_tuple=True)
    factor = torch.ones(len(colours)) if enlargement is None else enlargement
    inside = _outlines(place, count[image_index], factor[image_index], size, generator)
    fill = _fill(colours[image_index, place], textures[image_index, place], size, generator)
    owner = torch.full((len(colours), size, size), -1)
    for k in range(colours.shape[1]):
        chosen = torch.nonzero(place == k)[:, 0]
        images = image_index[chosen]
        mask = inside[chosen]
        canvas[images] = torch.where(mask[:, None], fill[chosen], canvas[images])
        owner[images] = torch.where(mask, torch.tensor(k), owner[images])
    return _photograph(canvas, generator), owner


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _grid(size: int) -> tuple[Tensor, Tensor]:
    steps = torch.arange(size, dtype=torch.float32)
    return steps[:, None].expand(size, size), steps.expand(size, size)


def _outlines(place: Tensor, count: Tensor, factor: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Random star-shaped outlines, bool (M, S, S): r(angle) = R (1 + a few waves), the objects spread on a ring."""
    number = len(place)
    bounds = torch.tensor([_RADII[int(n)] for n in range(1, MAX_OBJECTS + 1)])[count - 1] * size
    radius = bounds[:, 0] + torch.rand(number, generator=generator) * (bounds[:, 1] - bounds[:, 0])
    ring = torch.where(count == 1, 0.16, 0.27) * size * _uniform((number,), 0.7, 1.1, generator)
    angle = 2 * math.pi * (place / count + _uniform((number,), -0.09, 0.09, generator))
    y, x = _grid(size)
    x = x - (size / 2 + ring * angle.cos())[:, None, None]
    y = y - (size / 2 + ring * angle.sin())[:, None, None]
    distance = torch.hypot(x, y).clamp_min(1e-3)
    wave = direction = torch.complex(x / distance, y / distance)
    limit = torch.ones_like(distance)
    for amplitude in (0.22, 0.14, 0.08):
        wave = wave * direction
        phase = _uniform((number, 1, 1), 0, 2 * math.pi, generator)
        strength = amplitude * torch.rand((number, 1, 1), generator=generator)
        limit += strength * (wave * torch.polar(torch.ones_like(phase), phase)).real
    return distance < (radius * factor)[:, None, None] * limit


def _fill(colours: Tensor, textures: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """The inside of objects as if each filled the image: (M, 3, S, S)."""
    base = torch.tensor(list(COLOURS.values()), dtype=torch.float32)[colours]
    base = base + _uniform((len(colours), 3), -14, 14, generator)
    fill = base[:, :, None, None].repeat(1, 1, size, size)
    for index, (name, second) in enumerate(TEXTURES.items()):
        chosen = torch.nonzero(textures == index)[:, 0]
        if name == "plain" or len(chosen) == 0:
            continue
        own = base[chosen]
        other = own + _PASTEL * (255 - own) if second is None else torch.tensor(second).expand(len(chosen), 3)
        other = other + _uniform((len(chosen), 3), -8, 8, generator)
        marked = _PATTERNS[name](len(chosen), size, generator)
        fill[chosen] = torch.where(marked[:, None], other[:, :, None, None], fill[chosen])
    return fill


def _turned(number: int, size: int, period: tuple[float, float], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Coordinates (M, S, S) each, turned by a random angle, shifted, in units of a random period in pixels."""
    y, x = _grid(size)
    angle = _uniform((number, 1, 1), 0, math.pi, generator)
    scale = _uniform((number, 1, 1), *period, generator)
    shift = torch.rand((2, number, 1, 1), generator=generator)
    across = (x * angle.cos() + y * angle.sin()) / scale + shift[0]
    along = (y * angle.cos() - x * angle.sin()) / scale + shift[1]
    return across, along


def _striped(number: int, size: int, generator: torch.Generator) -> Tensor:
    across, _ = _turned(number, size, (5.0, 8.0), generator)
    return across.frac().abs() < 0.45


def _dotted(number: int, size: int, generator: torch.Generator) -> Tensor:
    across, along = _turned(number, size, (5.0, 7.0), generator)
    return (across - across.round()) ** 2 + (along - along.round()) ** 2 < 0.38**2


def _checkered(number: int, size: int, generator: torch.Generator) -> Tensor:
    across, along = _turned(number, size, (3.5, 5.0), generator)
    return (across.floor() + along.floor()) % 2 == 0


def _speckled(number: int, size: int, generator: torch.Generator) -> Tensor:
    coarse = torch.rand((number, 1, (size + 1) // 2, (size + 1) // 2), generator=generator)
    return F.interpolate(coarse, scale_factor=2)[:, 0, :size, :size] < 0.4


_PATTERNS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "striped": _striped,
    "dotted": _dotted,
    "checkered": _checkered,
    "speckled": _speckled,
}


def _draw_backgrounds(backgrounds: Tensor, size: int, generator: torch.Generator) -> Tensor:
    canvas = torch.empty(len(backgrounds), 3, size, size)
    for index, name in enumerate(BACKGROUNDS):
        chosen = torch.nonzero(backgrounds == index)[:, 0]
        if len(chosen):
            canvas[chosen] = _GROUNDS[name](len(chosen), size, generator)
    return canvas + _uniform((len(backgrounds), 3, 1, 1), -8, 8, generator)


def _noise(number: int, size: int, cell: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Smooth noise (M, 1, S, S), 0..1, whose grains are `cell` = (rows, columns) pixels."""
    coarse = torch.rand((number, 1, size // cell[0] + 2, size // cell[1] + 2), generator=generator)
    return F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)


def _colour(*rgb: int) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1)


def _grass(number: int, size: int, generator: torch.Generator) -> Tensor:
    return _colour(45, 75, 25) + _noise(number, size, (6, 1), generator) * _colour(70, 90, 30)


def _water(number: int, size: int, generator: torch.Generator) -> Tensor:
    y, _ = _grid(size)
    bend = 4 * _noise(number, size, (12, 12), generator)
    waves = torch.sin(2 * math.pi * y / 9 + bend + _uniform((number, 1, 1, 1), 0, 6.3, generator))
    return _colour(45, 125, 140) + waves * _colour(20, 32, 34)


def _bricks(number: int, size: int, generator: torch.Generator) -> Tensor:
    y, x = _grid(size)
    shift = _uniform((2, number, 1, 1), 0, 24, generator)
    row = (y + shift[0]) / 6
    column = (x + shift[1]) / 12 + 0.5 * (row.floor() % 2)
    mortar = ((row.frac() < 0.2) | (column.frac() < 0.1))[:, None]
    stone = _colour(150, 90, 75) + (_noise(number, size, (6, 12), generator) - 0.5) * 40
    return torch.where(mortar, _colour(195, 190, 185), stone)


def _snow(number: int, size: int, generator: torch.Generator) -> Tensor:
    return _colour(215, 225, 238) + _noise(number, size, (14, 20), generator) * _colour(38, 30, 18)


def _sand(number: int, size: int, generator: torch.Generator) -> Tensor:
    grains = torch.rand((number, 1, size, size), generator=generator) - 0.5
    return _colour(200, 172, 125) + grains * 50 + (_noise(number, size, (5, 24), generator) - 0.5) * 40


def _night_sky(number: int, size: int, generator: torch.Generator) -> Tensor:
    stars = torch.rand((number, 1, size, size), generator=generator) > 0.97
    return torch.where(stars, 220.0, _colour(14, 16, 40) + 20 * _noise(number, size, (16, 16), generator))


_GROUNDS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "grass": _grass,
    "water": _water,
    "bricks": _bricks,
    "snow": _snow,
    "sand": _sand,
    "night sky": _night_sky,
}


def _photograph(canvas: Tensor, generator: torch.Generator) -> Tensor:
    """Light falls unevenly and the sensor is noisy: (N, 3, S, S), 0..255 -> uint8."""
    number, _, size, _ = canvas.shape
    y, x = _grid(size)
    slope = _uniform((2, number, 1, 1), -0.15, 0.15, generator)
    light = _uniform((number, 1, 1), 0.85, 1.05, generator) + slope[0] * (x / size - 0.5) + slope[1] * (y / size - 0.5)
    noise = 5 * torch.randn(canvas.shape, generator=generator)
    return (canvas * light[:, None] + noise).round().clamp_(0, 255).to(torch.uint8)
