"""What fine-tuning on a few classes does to all others, on generated images.

    python -m catseg.shapes.fine_tuning --model shapes

Some never-seen classes are labelled in some images, as a user would, and nothing else in them. `catseg train` is run on
these, with and without weights of before in the result (`--keep`), and all models are evaluated on other images.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from tabulate import tabulate

from catseg.arguments import file_path, positive
from catseg.cli.main import main as catseg_command
from catseg.console import add_debug_option, errors_in_one_line
from catseg.data.registration import dataset_vocabulary, register_datasets
from catseg.errors import RunError
from catseg.label_io import read_classes
from catseg.shapes.report import SEEN_TEST, UNSEEN_TEST

IGNORED = 255
KEPT = (0.0, 0.5)  # shares of the starting weights


def write_own_data(folder: Path, *, classes: int, images: int) -> Path:
    """Write images of the never-seen test set in which a few classes are labelled and all else is ignored.

    Args:
        folder: to make; `train` holds images to label, and `val` the others, to evaluate on.
        classes: number of never-seen classes that are labelled.
        images: number of images that are for training.

    Returns:
        `folder`, as `catseg train --data` takes it.
    """
    names = dataset_vocabulary(UNSEEN_TEST)
    chosen = list(MetadataCatalog.get(UNSEEN_TEST).score_groups["held-out"][:classes])
    table = np.full(IGNORED + 1, IGNORED, dtype=np.uint8)
    table[chosen] = range(len(chosen))
    for number, record in enumerate(DatasetCatalog.get(UNSEEN_TEST)):
        split = "train" if number < images else "val"
        truth = read_classes(record["sem_seg_file_name"], num_classes=len(names), ignore_label=IGNORED)
        labels = table[truth]
        if (labels == IGNORED).all():
            continue
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        name = f"{Path(record['file_name']).stem}.png"
        Image.open(record["file_name"]).save(folder / "images" / split / name)
        Image.fromarray(labels).save(folder / "labels" / split / name)
    (folder / "classes.txt").write_text("".join(f"{names[place]}\n" for place in chosen), encoding="utf-8")
    return folder


def measure(model: str, data: Path, output: Path, *, steps: int | None = None) -> list[tuple[str, dict[str, float]]]:
    """Fine-tune a model, and evaluate it before and after.

    Args:
        model: what `catseg.load` takes.
        data: of `write_own_data`.
        output: folder of the runs.
        steps: length of the trainings; None for that of `catseg train`.

    Returns:
        For each model what it is, and mIoU in percent: of the labelled classes when asked for them alone, of the seen
        classes, and of the never-seen ones that are not labelled, both when asked for all.

    Raises:
        RuntimeError: if a command fails; it has said why.
    """
    rows = [("before", _scores(model, data, output / "before"))]
    length = [] if steps is None else ["--steps", str(steps)]
    for keep in KEPT:
        run = output / f"keep-{keep:g}"
        _run("train", "--data", str(data), "--model", model, "-o", str(run), "--keep", str(keep), *length)
        rows.append((f"after, --keep {keep:g}", _scores(str(run), data, run / "evaluation")))
    return rows


def _scores(model: str, data: Path, output: Path) -> dict[str, float]:
    _run("eval", "--model", model, "--data", str(data), SEEN_TEST, UNSEEN_TEST, "-o", str(output))
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))["results"]
    never_seen = results.pop(UNSEEN_TEST)["sem_seg"]
    seen = results.pop(SEEN_TEST)["sem_seg"]["mIoU"]
    (own,) = results.values()
    labelled = (data / "classes.txt").read_text(encoding="utf-8").splitlines()
    held_out = MetadataCatalog.get(UNSEEN_TEST).score_groups["held-out"]
    names = dataset_vocabulary(UNSEEN_TEST)
    others = [never_seen[f"IoU-{names[place]}"] for place in held_out if names[place] not in labelled]
    return {"labelled": own["sem_seg"]["mIoU"], "seen": seen, "never seen": statistics.mean(others)}


def _run(*words: str) -> None:
    status = catseg_command(words)
    if status:
        raise RunError(f"catseg {' '.join(words)} ended with status {status}")


@errors_in_one_line("catseg.shapes.fine_tuning", interrupted="interrupted")
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m catseg.shapes.fine_tuning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="shapes", help="what catseg.load takes (default: %(default)s)")
    parser.add_argument("--classes", type=positive, default=4, help="that are labelled (default: %(default)s)")
    parser.add_argument("--images", type=positive, default=60, help="that are labelled (default: %(default)s)")
    parser.add_argument(
        *("-o", "--output"), type=file_path, default=Path("output/fine_tuning"), help="folder (default: %(default)s)"
    )
    add_debug_option(parser)
    args = parser.parse_args(arguments)
    register_datasets()
    data = write_own_data(args.output / "data", classes=args.classes, images=args.images)
    rows = [[name, *scores.values()] for name, scores in measure(args.model, data, args.output)]
    headers = ["mIoU", "labelled classes", "seen", "never seen, not labelled"]
    sys.stdout.write(f"{tabulate(rows, headers=headers, tablefmt='github', floatfmt='.1f')}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
