"""The classes of a result as labelling tools draw them: each a mask with a score, or the polygons of its regions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catseg.api.polygons import Polygon, polygons, without_crumbs
from catseg.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Shape:
    """The pixels of one class in an image.

    Attributes:
        index: of the class, in the result's names.
        name: its name there.
        score: mean probability of the class over these pixels, 0..1.
        mask: (H, W), not empty.
    """

    index: int
    name: str
    score: float
    mask: NDArray[np.bool_]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Borders left, top, right and bottom, in pixels of the image; the pixels at right and bottom are outside."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

    def polygons(self, *, holes: bool = True, tolerance: float = 0.0) -> list[Polygon]:
        """Trace the regions: see `catseg.api.polygons.polygons`."""
        return polygons(self.mask, holes=holes, tolerance=tolerance)


def class_shapes(
    labels: NDArray[np.integer], scores: NDArray[np.floating], names: Vocabulary, min_pixels: int
) -> Iterator[Shape]:
    """Yield the classes that pixels have, in the order of the names.

    Args:
        labels: index into `names` for each pixel, (H, W); other values are pixels without a class.
        scores: probability of each pixel's label, 0..1, (H, W).
        names: of the classes.
        min_pixels: see `catseg.api.polygons.without_crumbs`. What is left out of one class is filled where it is a hole
            of another, so that shapes do not overlap.

    Raises:
        ValueError: if min_pixels is negative.
    """
    for index in np.unique(labels[(labels >= 0) & (labels < len(names))]).tolist():
        own = labels == index
        mask = without_crumbs(own, min_pixels)
        if mask.any():
            yield Shape(index, names[index], float(scores[own & mask].mean()), mask)
