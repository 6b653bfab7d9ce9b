"""Segment photographs into any classes that are named, and show the results.

Run `python demo/demo.py --help`.
"""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catseg.segmenting.inputs import InputImage, describe_left_out, find_images

if TYPE_CHECKING:
    from catseg.api.model import CATSegModel, SegmentOptions
    from catseg.segmenting.job import Job

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

_EXAMPLES = """\
examples:
  python demo/demo.py --config-file configs/catseg_ade150.yaml --input photos/ --output out/ \\
      --opts MODEL.WEIGHTS model.pth
  python demo/demo.py --config-file configs/catseg_ade150.yaml --input a.jpg 'trip/**/*.png' --output out/ \\
      --classes "sofa | couch, night sky, cat" --side-by-side --scores --opts MODEL.WEIGHTS model.pth

weights: MODEL.WEIGHTS is a file, a checkpoint that the authors published (`python -m catseg.tools.weights list` shows
  them), such as catseg://v1-large, which is downloaded once, or any file on the hub: hf://OWNER/REPO/FILE

results, for photos/trip/a.jpg:
  out/trip/a_overlay.png       the photograph with its classes, their names and a legend
  out/trip/a_labels.png        the class number of each pixel, as a coloured palette PNG (16 bits above 256 classes)
  out/trip/a_side_by_side.png  photograph and overlay                                          (--side-by-side)
  out/trip/a_scores.npz        probabilities of all classes: "scores", float16, (T, H, W); "names"     (--scores)
  out/trip/a_confidence.png    probability of the chosen class                                         (--scores)
  out/trip/a_class_scores.png  probabilities of the classes that cover most of the image             (--scores)
  out/trip/a_shares.json       share of the pixels of each class
  out/summary.json             the same of all images, and those that failed
  out/index.html               a page that shows all of them
  Names keep the path relative to the folder given or, for several inputs, to the folder that holds all of them.

exit status:
  0    all images are done
  1    some images could not be read or segmented (they are listed at the end, the others are done), or the results
       could not be written
  2    wrong arguments, config, weights or classes, or no image found; nothing was done
  130  interrupted with Ctrl-C; files are complete or absent, and --skip-existing goes on from there
"""

logger = logging.getLogger("demo")


def _expanded(text: str) -> Path:
    return Path(text).expanduser()


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; leaves the process with status 2 if it is wrong."""
    parser = argparse.ArgumentParser(
        description="Segment photographs into any classes that are named.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="YAML file that describes the model")
    parser.add_argument(
        "--input", required=True, nargs="+", metavar="PATH", help="files, folders or (quoted) glob patterns"
    )
    parser.add_argument(
        "--output", required=True, type=_expanded, metavar="FOLDER", help="is made if it does not exist"
    )
    parser.add_argument("--recursive", action="store_true", help="go into subfolders of folders")
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help='what to look for: "sofa | couch, night sky, cat" ("," between classes, "|" between synonyms); a file: '
        ".txt with one class per line, .csv, .json or .yaml; or a shipped vocabulary such as ade20k_150; by "
        "default the classes of the config's test set",
    )
    parser.add_argument("--side-by-side", action="store_true", help="also write photograph and overlay in one image")
    parser.add_argument(
        "--scores",
        action="store_true",
        help="also write per-class probabilities and heat maps; needs 4 bytes per pixel and class of memory",
    )
    parser.add_argument("--format", choices=("png", "jpg"), default="png", help="of the images (default: png)")
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out images that are done with the same settings; by default all are done again and replaced",
    )
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of every error, as CATSEG_DEBUG=1 does"
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config overrides; the last argument"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: of the command line, by default this process's.

    Returns:
        The exit status, as `--help` lists it.
    """
    args = parse_arguments(arguments)
    warnings.simplefilter("ignore", FutureWarning)  # of libraries among themselves
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for name in ("demo", "catseg"):
        logging.getLogger(name).setLevel(logging.INFO)
    if args.debug:
        os.environ["CATSEG_DEBUG"] = "1"
    try:
        images, left_out = find_images(args.input, args.output, recursive=args.recursive)
    except (ValueError, OSError) as error:
        logger.error("%s", error, exc_info=args.debug)
        return WRONG_USE
    try:
        return _run(args, images, left_out)
    except KeyboardInterrupt:
        logger.error("interrupted before the first image")
        return INTERRUPTED


def _run(args: argparse.Namespace, images: Sequence[InputImage], left_out: Mapping[str, str]) -> int:
    # Takes seconds to import, which --help and a wrong path do not wait for.
    from catseg.console import one_line, shows_traceback
    from catseg.segmenting.job import OutputError

    try:
        job = _prepare(args, images)
    except Exception as error:
        if shows_traceback(error):
            raise
        logger.error("%s", one_line(error))
        return WRONG_USE
    try:
        about = {"config_file": args.config_file, "left_out": left_out}
        job.run(images, about=about, skip_existing=args.skip_existing)
    except KeyboardInterrupt:
        logger.error("interrupted; %d of %d images are done, --skip-existing goes on", len(job.done), len(images))
        return INTERRUPTED
    except OutputError as error:
        logger.error("%s; %d of %d images are done", error, len(job.done), len(images))
        return FAILED
    logger.info("%d of %d images are done: %s", len(job.done), len(images), args.output / "index.html")
    for path, reason in job.failed.items():
        logger.error("skipped %s: %s", path, reason)
    if left_out:
        logger.warning("%s", describe_left_out(left_out))
    return FAILED if job.failed else DONE


def _prepare(args: argparse.Namespace, images: Sequence[InputImage]) -> "Job":
    """Make the output folder, build the model and encode the class names."""
    from catseg.errors import InputError
    from catseg.segmenting.job import Job
    from catseg.segmenting.results import SHARES, ResultFolder

    kinds = ["overlay", "labels", SHARES]
    kinds += ["side by side"] * args.side_by_side + ["scores", "confidence", "class scores"] * args.scores
    results = ResultFolder(args.output, images, kinds, args.format)
    model = _build(args)
    if model.classes is None:
        raise InputError("the config names no test set to take the classes from: give --classes")
    options: SegmentOptions = {"threshold": 0.0, "context": None, "keep_probabilities": args.scores}
    return Job(model, model.classes, results, options=options)


def _build(args: argparse.Namespace) -> "CATSegModel":
    from catseg.inference import model_from_config

    try:
        return model_from_config(args.config_file, args.opts, args.classes)
    except FileNotFoundError as error:
        if "MODEL.WEIGHTS" in args.opts or "MODEL.WEIGHTS" not in str(error):
            raise
        raise FileNotFoundError(
            "the demo needs trained weights: give them by --opts MODEL.WEIGHTS model.pth, or catseg://v1-large "
            f"(those of {args.config_file}, which training starts from, are not at hand either: {error})"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
