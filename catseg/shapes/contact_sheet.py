"""A sheet of test images with their label maps, true and predicted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from catseg.atomic import atomic_path
from catseg.image_io import read_image
from catseg.label_io import read_label_map
from catseg.shapes.classes import CLASSES, HELD_OUT, HELD_OUT_OBJECTS
from catseg.shapes.report import SEEN_TEST, UNSEEN_TEST
from catseg.shapes.scenes import class_numbers
from catseg.visualization import palette

SPLITS = {"seen_test": (SEEN_TEST, "seen classes"), "unseen_test": (UNSEEN_TEST, "with never-seen classes (bold)")}
_TITLES = ("image", "truth", "prediction")
_SMALLEST_SHARE = 0.01  # of an image's pixels that a class must have to be in the legend
_LONGEST_LEGEND = 8


def write_contact_sheet(path: Path, data: Path, run: Path, *, rows: int = 5) -> None:
    """Show test images of both kinds: image, truth, prediction, legend.

    They are the first ones of each test set; of the unseen one, the first that show a held-out object.

    Args:
        path: PNG file to write.
        data: folder of the data set.
        run: folder of the run, with label maps under `evaluation/`.
        rows: images of each kind; fewer are shown where there are not as many.
    """
    height = 1.45 * rows + 0.3
    figure = Figure(figsize=(13, height), dpi=85)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, 8, squeeze=False, width_ratios=[1, 1, 1, 1.5] * 2)
    for axes in grid.flat:
        axes.set_axis_off()
    figure.subplots_adjust(left=0.005, right=0.995, top=1 - 0.25 / height, bottom=0.01, wspace=0.05, hspace=0.06)
    for side, (split, (dataset, title)) in enumerate(SPLITS.items()):
        truths = _choose(data / "annotations" / split, rows, HELD_OUT_OBJECTS if split == "unseen_test" else CLASSES)
        for row, (name, truth) in enumerate(truths.items()):
            predicted = read_label_map(run / "evaluation" / dataset / "labels" / name)
            pixels = read_image(data / "images" / split / name)
            _show(grid[row][4 * side : 4 * side + 4], pixels, truth, predicted)
        headed = grid[0][4 * side : 4 * side + 4]
        for axes, heading in zip(headed, _TITLES, strict=False):
            axes.set_title(heading, fontsize=9)
        headed[3].set_title(title, fontsize=9, loc="left")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, pil_kwargs={"optimize": True})


def _choose(folder: Path, number: int, names: Sequence[str]) -> dict[str, NDArray]:
    """The first label maps, by file name, that hold one of the named classes."""
    wanted = class_numbers(names)
    chosen = {}
    for path in sorted(folder.iterdir()):
        labels = read_label_map(path)
        if np.isin(labels, wanted).any():
            chosen[path.name] = labels
        if len(chosen) == number:
            break
    return chosen


def _show(axes: Sequence[Axes], pixels: NDArray, truth: NDArray, predicted: NDArray) -> None:
    colors = palette(len(CLASSES))
    for one, panel in zip(axes, (pixels, colors[truth], colors[predicted]), strict=False):
        one.imshow(panel, interpolation="nearest")
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
