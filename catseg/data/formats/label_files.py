"""Label maps made of image files: numbers or colours that stand for classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseg.data.formats.dataset import Geometry
from catseg.data.pairs import listed
from catseg.errors import InputError
from catseg.image_files import read_file
from catseg.image_io import pil_to_rgb
from catseg.label_io import read_label_map

Colour = tuple[int, int, int]

_MAX_LISTED = 10  # values or colours that a message lists
_LOSSY = (".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class IndexLabels:
    """A label map whose numbers stand for classes.

    Attributes:
        file: as `catseg.label_io.read_label_map` reads it.
        table: class or ignored label of each number that may occur.
    """

    file: Path
    table: Mapping[int, int]

    @property
    def is_label_map(self) -> bool:
        """Whether each number is the class already."""
        return all(number == label for number, label in self.table.items())

    def read(self, image: Geometry) -> NDArray[np.int64]:
        """Make the label map, see `Labels`."""
        return self._mapped(read_label_map(self.file))

    def content(self) -> bytes:
        """Return table and file."""
        return repr(sorted(self.table.items())).encode() + self.file.read_bytes()

    def _mapped(self, values: NDArray[np.integer]) -> NDArray[np.int64]:
        found, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        unknown = [(value, count) for value, count in zip(found, counts, strict=True) if int(value) not in self.table]
        if unknown:
            raise InputError(
                f"the label file {self.file} has values that are no class: "
                f"{_counted([(str(value), int(count)) for value, count in unknown])}; known are {_known(self.table)}"
            )
        return np.array([self.table[int(value)] for value in found], dtype=np.int64)[inverse.reshape(values.shape)]


@dataclass(frozen=True)
class ColourLabels:
    """A mask whose colours stand for classes.

    Attributes:
        file: an image, RGB or with a palette.
        colours: class or ignored label of each colour that may occur, RGB 0..255.
    """

    file: Path
    colours: Mapping[Colour, int]

    is_label_map = False

    def read(self, image: Geometry) -> NDArray[np.int64]:
        """Make the label map, see `Labels`."""
        rgb = read_file(self.file, _stored_colours).astype(np.int64)
        table = {(red << 16) + (green << 8) + blue: label for (red, green, blue), label in self.colours.items()}
        found, inverse, counts = np.unique(
            (rgb[..., 0] << 16) + (rgb[..., 1] << 8) + rgb[..., 2], return_inverse=True, return_counts=True
        )
        unknown = [(int(code), int(count)) for code, count in zip(found, counts, strict=True) if int(code) not in table]
        if unknown:
            raise InputError(
                f"the mask {self.file} has colours that are no class: "
                f"{_counted([(f'({code >> 16}, {code >> 8 & 255}, {code & 255})', count) for code, count in unknown])}"
                f"; known are {listed([str(colour) for colour in self.colours])}"
                + "; JPEG and WebP change colours: write the masks anew as PNG"
                * (self.file.suffix.lower() in _LOSSY)
            )
        return np.array([table[int(code)] for code in found], dtype=np.int64)[inverse.reshape(rgb.shape[:2])]

    def content(self) -> bytes:
        """Return table and file."""
        return repr(sorted(self.colours.items())).encode() + self.file.read_bytes()


@dataclass(frozen=True)
class PaletteLabels:
    """A mask whose numbers stand for classes, or, if it was saved without palette, its colours.

    Attributes:
        file: the mask.
        table: class or ignored label of each number.
        colours: class or ignored label of each colour.
    """

    file: Path
    table: Mapping[int, int]
    colours: Mapping[Colour, int]

    is_label_map = False

    def read(self, image: Geometry) -> NDArray[np.int64]:
        """Make the label map, see `Labels`."""
        by_colour = read_file(self.file, lambda opened: opened.mode in ("RGB", "RGBA"))
        return (ColourLabels(self.file, self.colours) if by_colour else IndexLabels(self.file, self.table)).read(image)

    def content(self) -> bytes:
        """Return tables and file."""
        return ColourLabels(self.file, self.colours).content() + repr(sorted(self.table.items())).encode()


def _stored_colours(image: Image.Image) -> NDArray[np.uint8]:
    """Return the colours of a mask, RGB, those of transparent pixels too, which viewers show as something else."""
    if image.mode in ("RGB", "RGBA", "P", "PA", "L", "LA", "1"):
        return np.asarray(image.convert("RGB"))
    return pil_to_rgb(image, upright=False)


def voc_colours() -> list[Colour]:
    """Return the colours of PASCAL VOC's palette: the bits of a number, spread over the three channels."""
    colours = []
    for number in range(256):
        channels = [sum((number >> 3 * bit + channel & 1) << 7 - bit for bit in range(3)) for channel in range(3)]
        colours.append((channels[0], channels[1], channels[2]))
    return colours


def _counted(found: list[tuple[str, int]]) -> str:
    ordered = sorted(found, key=lambda item: -item[1])
    listed = ", ".join(f"{value} ({count} pixels)" for value, count in ordered[:_MAX_LISTED])
    return listed + f" and {len(found) - _MAX_LISTED} more" * (len(found) > _MAX_LISTED)


def _known(table: Mapping[int, int]) -> str:
    numbers = sorted(table)
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}..{numbers[-1]}"
    return ", ".join(map(str, numbers[:30])) + ", ..." * (len(numbers) > 30)
