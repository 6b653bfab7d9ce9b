"""How well a threshold tells what was named from all else, on generated images whose classes are known.

    python -m catseg.shapes.threshold --model shapes

Each image is asked for some classes that it holds, and again for as many that it does not hold. A model is asked for
them alone, and beside the classes that it was trained with (`context` in `CATSegModel.segment`).
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from numpy.typing import NDArray
from tabulate import tabulate
from tqdm import tqdm

from catseg.api.loading import load
from catseg.api.model import CATSegModel
from catseg.api.request import THRESHOLD
from catseg.console import add_debug_option, errors_in_one_line
from catseg.data.registration import register_datasets
from catseg.label_io import read_classes
from catseg.shapes.report import SEEN_TEST, UNSEEN_TEST

THRESHOLDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
IGNORED = 255


@dataclass(frozen=True)
class Separation:
    """Shares of pixels, 0..1.

    Attributes:
        threshold: below which pixels are nothing.
        found: of the pixels of the named classes, those that get their class.
        left: of the pixels of other classes in the same images, those that are nothing.
        rejected: of the pixels of images that hold none of the named classes, those that are nothing.
    """

    threshold: float
    found: float
    left: float
    rejected: float


def measure(
    model: CATSegModel,
    dataset: str,
    *,
    images: int = 30,
    classes: int = 1,
    with_context: bool = True,
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[Separation]:
    """Measure on the first images of a registered data set.

    Args:
        model: a trained model.
        dataset: has label maps.
        images: how many.
        classes: that are named at once; fewer where an image holds fewer.
        with_context: whether the model sees the classes of its training beside them.
        thresholds: to try.

    Raises:
        FileNotFoundError: if the data set is not there.
    """
    names = MetadataCatalog.get(dataset).stuff_classes
    choose = random.Random(0)
    counts = np.zeros((len(thresholds), 3))
    totals = np.zeros(3)
    for record in tqdm(DatasetCatalog.get(dataset)[:images], unit="image", disable=None):
        truth = read_classes(record["sem_seg_file_name"], num_classes=len(names), ignore_label=IGNORED)
        held = [place for place in range(len(names)) if (truth == place).any()]
        absent = [place for place in range(len(names)) if place not in held]
        present = choose.sample(held, min(classes, len(held)))
        others = choose.sample(absent, min(len(present), len(absent)))
        labels, scores = _ask(model, record["file_name"], names, present, with_context)
        _, false_scores = _ask(model, record["file_name"], names, others, with_context)
        named = np.isin(truth, present)
        rest = ~named & (truth != IGNORED)
        totals += [named.sum(), rest.sum(), truth.size]
        for row, threshold in zip(counts, thresholds, strict=True):
            row += [
                ((labels == truth) & named & (scores >= threshold)).sum(),
                (rest & (scores < threshold)).sum(),
                (false_scores < threshold).sum(),
            ]
    shares = counts / np.maximum(totals, 1)
    return [Separation(threshold, *map(float, row)) for threshold, row in zip(thresholds, shares, strict=True)]


def _ask(
    model: CATSegModel, file: str, names: Sequence[str], places: Sequence[int], with_context: bool
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the most probable of some classes at each pixel, and its probability."""
    result = model.segment(
        file,
        [names[place] for place in places],
        threshold=0.0,
        context="training" if with_context else None,
        keep_probabilities=False,
        on_error="raise",
    )
    return np.array(places)[result.labels], result.scores


@errors_in_one_line("catseg.shapes.threshold", interrupted="interrupted")
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m catseg.shapes.threshold",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="shapes", help="what catseg.load takes (default: %(default)s)")
    parser.add_argument("--images", type=int, default=30, help="of each data set (default: %(default)s)")
    add_debug_option(parser)
    args = parser.parse_args(arguments)
    register_datasets()
    model = load(args.model)
    rows = [
        [what, classes, "yes" if with_context else "no", *row]
        for what, dataset in (("seen", SEEN_TEST), ("never seen", UNSEEN_TEST))
        for classes in (1, 3)
        for with_context in (False, True)
        for row in _rows(measure(model, dataset, images=args.images, classes=classes, with_context=with_context))
    ]
    headers = ["classes", "named", "context", "threshold", "found", "left", "rejected"]
    sys.stdout.write(f"{tabulate(rows, headers=headers, tablefmt='github', floatfmt='.1f')}\n")
    sys.stdout.write(f"Pixels in percent; the default threshold is {THRESHOLD}.\n")
    return 0


def _rows(measured: Sequence[Separation]) -> list[list[float | str]]:
    return [[f"{row.threshold:.1f}", 100 * row.found, 100 * row.left, 100 * row.rejected] for row in measured]


if __name__ == "__main__":
    sys.exit(main())
