"""One image that shows what a data set looks like: some of its images with their labels."""

import logging
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from catseg.console import one_line
from catseg.data.formats import OwnDataset, OwnSample
from catseg.errors import RunError
from catseg.image_io import read_image
from catseg.visualization import overlay, save_image
from catseg.visualization.canvas import PAPER, add_title, font_size, join

logger = logging.getLogger(__name__)

_CELL_HEIGHT = 300  # pixels
_COLUMNS = 3
_GAP = 12  # pixels


def contact_sheet(dataset: OwnDataset, *, count: int = 12, legend: bool = True) -> NDArray[np.uint8]:
    """Draw labels over images that are spread evenly over the data set, with names.

    Args:
        dataset: what `catseg.data.formats.read_dataset` returns.
        count: of images; fewer if there are not as many. Those that cannot be read are left out with a warning.
        legend: whether to add the classes of each image and their shares.

    Returns:
        RGB 0..255.

    Raises:
        RuntimeError: if none of them can be read.
    """
    samples = dataset.samples
    places = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int))
    cells = []
    for split, sample in (samples[place] for place in places):
        try:
            cells.append(_cell(dataset, split, sample, legend=legend))
        except Exception as error:
            if one_line(error) is None:
                raise
            logger.warning("%s is not on the contact sheet: %s", sample.name, one_line(error))
    if not cells:
        raise RunError(f"{dataset.path} has no image that could be shown")
    width = max(cell.shape[1] for cell in cells)
    cells = [
        cv2.copyMakeBorder(cell, 0, 0, 0, width - cell.shape[1], cv2.BORDER_CONSTANT, value=PAPER) for cell in cells
    ]
    rows = [join(cells[start : start + _COLUMNS], axis=1, gap=_GAP) for start in range(0, len(cells), _COLUMNS)]
    return join(rows, axis=0, gap=_GAP)


def write_contact_sheet(file: str | Path, dataset: OwnDataset, *, count: int = 12, legend: bool = True) -> None:
    """Write `contact_sheet` to an image file, whose suffix says the format.

    Raises:
        OSError: if it cannot be written.
        ValueError: if the suffix is no image format that can be written.
        RuntimeError: if no image can be read.
    """
    save_image(file, contact_sheet(dataset, count=count, legend=legend))


def _cell(dataset: OwnDataset, split: str, sample: OwnSample, *, legend: bool) -> NDArray[np.uint8]:
    image, labels = read_image(sample.image), sample.label_map()
    drawing = overlay(image, labels, dataset.vocabulary, legend=legend)
    drawing = add_title(drawing, f"{split}: {sample.name}", font_size(drawing.shape))
    scale = _CELL_HEIGHT / drawing.shape[0]
    return cv2.resize(drawing, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
