"""A sheet of test images with their label maps, true and predicted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from catseg.data.shapes import CLASSES, HELD_OUT
from catseg.files import atomic_path
from catseg.label_io import read_label_map
from catseg.tools.shapes_report import SEEN_TEST, UNSEEN_TEST
from catseg.visualization import palette

SPLITS = {"seen_test": (SEEN_TEST, "seen classes"), "unseen_test": (UNSEEN_TEST, "with never-seen classes (bold)")}
_TITLES = ("image", "truth", "prediction")
_SMALLEST_SHARE = 0.01  # of an image's pixels that a class must have to be in the legend
_LONGEST_LEGEND = 8


def write_contact_sheet(path: Path, data: Path, run: Path, *, rows: int = 5) -> None:
    """Show the first test images of both kinds: image, truth, prediction, legend.

    Args:
        path: PNG file to write.
        data: folder of the data set.
        run: folder of the run, with label maps under `evaluation/`.
        rows: images of each kind.
    """
    height = 1.45 * rows + 0.3
    figure = Figure(figsize=(13, height), dpi=85)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, 8, squeeze=False, width_ratios=[1, 1, 1, 1.5] * 2)
    figure.subplots_adjust(left=0.005, right=0.995, top=1 - 0.25 / height, bottom=0.01, wspace=0.05, hspace=0.06)
    for side, (split, (dataset, title)) in enumerate(SPLITS.items()):
        for row in range(rows):
            name = f"{row:05d}.png"
            truth = read_label_map(data / "annotations" / split / name)
            predicted = read_label_map(run / "evaluation" / dataset / "labels" / name)
            with Image.open(data / "images" / split / name) as image:
                pixels = np.asarray(image.convert("RGB"))
            axes = grid[row][4 * side : 4 * side + 4]
            _show(axes, pixels, truth, predicted)
            if row == 0:
                for one, heading in zip(axes, _TITLES, strict=False):
                    one.set_title(heading, fontsize=9)
                axes[3].set_title(title, fontsize=9, loc="left")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, pil_kwargs={"optimize": True})


def _show(axes: Sequence[Axes], pixels: NDArray, truth: NDArray, predicted: NDArray) -> None:
    colors = palette(len(CLASSES))
    for one, picture in zip(axes, (pixels, colors[truth], colors[predicted]), strict=False):
        one.imshow(picture, interpolation="nearest")
    for one in axes:
        one.set_axis_off()
    counts = np.bincount(np.concatenate([truth, predicted], axis=None), minlength=len(CLASSES))
    shown = [int(i) for i in np.argsort(-counts) if counts[i] > 2 * _SMALLEST_SHARE * truth.size][:_LONGEST_LEGEND]
    handles = [Patch(color=colors[index] / 255, label=_label(index, truth)) for index in shown]
    legend = axes[3].legend(
        handles=handles,
        loc="center left",
        fontsize=7.5,
        frameon=False,
        handlelength=1,
        borderaxespad=0,
        bbox_to_anchor=(0, 0.5),
    )
    for text, index in zip(legend.get_texts(), shown, strict=True):
        text.set_fontweight("bold" if CLASSES[index] in HELD_OUT else "normal")


def _label(index: int, truth: NDArray) -> str:
    return CLASSES[index] if (truth == index).any() else f"{CLASSES[index]} (not there)"
