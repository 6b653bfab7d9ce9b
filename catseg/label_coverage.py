"""What the label maps of a data set cover: classes without a pixel, and pixels without a class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAX_LISTED = 10  # classes that are named
_MANY_IGNORED = 0.5  # share of the pixels


@dataclass(frozen=True)
class LabelCoverage:
    """Numbers of pixels in label maps.

    Attributes:
        label_maps: how many were looked at.
        pixels: of each class, (T,).
        ignored: pixels of the ignored value.
    """

    label_maps: int
    pixels: NDArray[np.int64]
    ignored: int

    def warning(self, dataset: str, classes: Sequence[str], *, ignore_label: int, label_maps: int) -> str | None:
        """Describe classes that have no pixel, and a large share of ignored pixels.

        Masks of 0 and 255 are the commonest reason: where 255 is ignored, the second class has no pixel.

        Args:
            dataset: its name.
            classes: T names.
            ignore_label: the ignored value.
            label_maps: number of those of the whole data set. If not all were looked at, classes without a pixel are
                worth a warning only where they are at least half of all.

        Returns:
            One line, or None if there is nothing to warn of.
        """
        missing = [f"{index} ({name})" for index, name in enumerate(classes) if not self.pixels[index]]
        if self.label_maps < label_maps and 2 * len(missing) < len(classes):
            missing = []
        total = int(self.pixels.sum()) + self.ignored
        share = self.ignored / total if total else 0.0
        if not missing and share < _MANY_IGNORED:
            return None
        looked_at = (
            f"{self.label_maps} label maps"
            if self.label_maps == label_maps
            else f"{self.label_maps} of {label_maps} label maps"
        )
        ignored = f"{100 * share:.0f} % of the pixels have the ignored value {ignore_label}"
        if not missing:
            return f"{dataset}: {ignored} in {looked_at}"
        if len(missing) == 1:
            return f"{dataset}: no pixel of class {missing[0]} in {looked_at}; {ignored}"
        listed = ", ".join(missing[:_MAX_LISTED]) + (", ..." if len(missing) > _MAX_LISTED else "")
        return (
            f"{dataset}: no pixel of {len(missing)} of the {len(classes)} classes in {looked_at}: {listed}; {ignored}"
        )
