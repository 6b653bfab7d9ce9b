"""Segment images and videos into any classes that are named."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from catseg.arguments import file_path, positive, share
from catseg.cli.settings import DEVICE, HELP, MODEL, Setting, add_settings, apply_settings
from catseg.errors import InputError

if TYPE_CHECKING:
    from catseg.segmenting.inputs import InputImage
    from catseg.segmenting.job import Job
    from catseg.vocabulary import Vocabulary

KINDS = ("overlay", "labels", "scores", "coco", "labelme", "shares")
STANDARD_INPUT = "-"
DEFAULT_MODEL = "v2-base"
FAILED, INTERRUPTED = 1, 130

EPILOG = f"""\
examples:
  catseg segment photos/ "sofa, night sky, cat | kitten" -o out/
  catseg segment a.jpg 'trip/*.png' "cat, dog" -o out/ --save labels,coco --model shapes
  catseg segment photos/ classes.txt -o out/ --background other --skip-existing
  catseg segment photos/ ade20k_150 --json > found.jsonl
  catseg segment clip.mp4 "road, car, person" -o out/
  catseg segment camera:0 "person, chair" -o out/ --frames 300
  cat photo.jpg | catseg segment - "cat, sofa" -o out/

results, for photos/trip/a.jpg:
  out/trip/a_overlay.png   the image with its classes, their names and a legend                         (overlay)
  out/trip/a_labels.png    the class number of each pixel, 255 for none (16 bits above 255 classes)     (labels)
  out/trip/a_scores.npz    probabilities of all classes: "scores", float16, (T, H, W); "names"          (scores)
  out/trip/a_coco.json     a mask for each class, in COCO's RLE                                         (coco)
  out/trip/a_labelme.json  polygons for labelme                                                         (labelme)
  out/trip/a_shares.json   share of the pixels of each class                                            (shares)
  out/summary.json         the same of all images, and those that failed
  out/index.html           a page that shows all overlays
  A video gives out/clip_overlay.mp4, with its frame rate, and with its codec and sound where ffmpeg is installed; all
  else of its frames goes into out/clip/.
  With --engine, for very many images, there is no page: out/manifest.parquet has a row for each image. Inputs are
  files, folders and patterns, also of S3 and GCS (s3://BUCKET/FOLDER), or a Parquet file that lists them, and the same
  command goes on after any break: docs/many_images.md tells more.

{HELP}
exit status: 0 all done, 1 some inputs failed (they are listed, the others are done) or results could not be written,
  2 wrong use, nothing was done, 130 interrupted: files are complete or absent, and --skip-existing goes on from there
"""

logger = logging.getLogger(__name__)


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(KINDS)}, got {text!r}")
    return kinds


SETTINGS = (
    Setting(MODEL.name, MODEL.help, DEFAULT_MODEL, short=MODEL.short),
    DEVICE,
    Setting("save", "what to write, with commas between", ("overlay", "labels", "shares"), _kinds, metavar="KINDS"),
    Setting("format", "of the overlays", "png", choices=("png", "jpg")),
    Setting("threshold", "pixels whose class is less probable are nothing; 0 gives all a class", 0.5, share),
    Setting("background", "name of one more class, for the pixels that are nothing", metavar="NAME"),
    Setting("batch", "images that go through the network together", 1, positive, metavar="N"),
    Setting(
        "workers",
        "threads that read images, and as many that write results; with --engine, processes",
        2,
        positive,
        metavar="N",
    ),
    Setting(
        "engine",
        "for very many images: processes of this machine (local) or Ray Data (ray), and a manifest",
        choices=("local", "ray"),
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="images, videos, folders with their subfolders, (quoted) patterns; camera:0; - for standard input",
    )
    parser.add_argument(
        "classes",
        metavar="CLASSES",
        help='what to look for: "sofa | couch, night sky" ("," between classes, "|" between synonyms), a file (.txt, '
        ".csv, .json, .yaml), or a shipped vocabulary such as ade20k_150",
    )
    parser.add_argument("-o", "--output", metavar="FOLDER", help="where results go; it is made")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each image, or frame of a video")
    add_settings(parser, SETTINGS)
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out images that are done with the same settings; by default all are done again and replaced",
    )
    parser.add_argument("--frames", type=positive, metavar="N", help="of each video or camera, at most")


def run(args: argparse.Namespace) -> int:
    """Segment everything; return the exit status."""
    apply_settings("segment", args, SETTINGS)
    if args.output is None and not args.json:
        raise InputError("nothing would be kept: say where results go by -o FOLDER, or print them by --json")
    _check_classes(args.classes)
    if args.engine is not None:
        return _run_engine(args)
    _check_words(args)
    args.output = args.output and file_path(args.output)

    from catseg.segmenting.inputs import describe_left_out
    from catseg.segmenting.job import OutputError

    images, left_out = _inputs(args)
    job = _prepare(args, images)
    about = {"model": args.model, "threshold": args.threshold, "background": args.background, "left_out": left_out}
    where = f"; {args.output}" if args.output else ""
    try:
        job.run(images, about=about, skip_existing=args.skip_existing, report=_print if args.json else _silent)
    except KeyboardInterrupt:
        hint = ", --skip-existing goes on" if args.output else ""
        logger.error("interrupted: %d of %d inputs are done%s", len(job.done), len(images), hint)
        return INTERRUPTED
    except OutputError as error:
        logger.error("%s; %d of %d inputs are done", error, len(job.done), len(images))
        return FAILED
    logger.info("%d of %d inputs are done%s", len(job.done), len(images), where)
    for path, reason in job.failed.items():
        logger.error("%s: %s", path, reason)
    if left_out:
        logger.warning("%s", describe_left_out(left_out))
    return FAILED if job.failed else 0


def _check_classes(classes: str) -> None:
    """Notice that the classes are missing, so that the last input stands in their place."""
    from catseg.image_files import VIDEO_SUFFIXES, image_suffixes

    path = Path(classes).expanduser()
    if classes == STANDARD_INPUT or path.is_dir() or path.suffix.lower() in image_suffixes() | VIDEO_SUFFIXES:
        raise InputError(f"the last word names the classes, but {classes!r} is an input: add them after it")


def _check_words(args: argparse.Namespace) -> None:
    """Notice inputs that only engines take."""
    for word in (*args.inputs, args.output or ""):
        if "://" in word or word.lower().endswith(".parquet"):
            raise InputError(f"{word} is no file or folder of images: --engine local takes it, or --engine ray")


def _run_engine(args: argparse.Namespace) -> int:
    """Segment very many images; return the exit status."""
    if args.output is None:
        raise InputError("--engine writes results and a manifest: say where by -o FOLDER")
    singular = [word for word in args.inputs if word == STANDARD_INPUT or word.startswith("camera:")]
    if singular or args.frames:
        raise InputError(f"--engine takes images alone, not {singular[0] if singular else '--frames'}: leave it out")

    from catseg.batch import segment_dataset
    from catseg.segmenting.inputs import describe_left_out
    from catseg.segmenting.job import OutputError

    rows = sys.stdout
    try:
        with redirect_stdout(sys.stderr):  # where Ray writes of what it does
            done = segment_dataset(
                args.inputs,
                args.classes,
                args.output,
                model=args.model,
                engine=args.engine,
                workers=args.workers,
                device=args.device,
                save=args.save,
                image_format=args.format,
                threshold=args.threshold,
                background=args.background,
                batch=args.batch,
                report=partial(_print, to=rows) if args.json else _silent,
            )
    except KeyboardInterrupt:
        logger.error("interrupted: the same command goes on")
        return INTERRUPTED
    except OutputError as error:
        logger.error("%s; the same command goes on", error)
        return FAILED
    logger.info("%d images are done, %d were before; %s", done.done, done.skipped, done.manifest)
    for path, reason in done.errors.items():
        logger.error("%s: %s", path, reason)
    if done.failed > len(done.errors):
        logger.error("%d images failed in all: the manifest has them", done.failed)
    if done.left_out:
        logger.warning("%s", describe_left_out(done.left_out))
    return FAILED if done.failed else 0


def _inputs(args: argparse.Namespace) -> tuple[list["InputImage"], dict[str, str]]:
    """Return what to segment, in order of files, cameras and standard input; and what is left out, and why."""
    from catseg.segmenting.inputs import InputImage, find_images
    from catseg.segmenting.videos import CAMERA, camera_number

    cameras = [word for word in args.inputs if word.startswith(CAMERA)]
    words = [word for word in args.inputs if word != STANDARD_INPUT and word not in cameras]
    output = args.output or Path(os.devnull)
    found, left_out = find_images(words, output, recursive=True, videos=True) if words else ([], {})
    found += [InputImage(Path(name), f"camera-{camera_number(name)}", is_video=True) for name in cameras]
    if STANDARD_INPUT in args.inputs:
        if sys.stdin.isatty():
            raise InputError("- reads an image from standard input, which is the terminal: pipe a file in")
        found.append(InputImage(Path(STANDARD_INPUT), "stdin", content=sys.stdin.buffer.read()))
    return found, left_out


def _prepare(args: argparse.Namespace, images: list["InputImage"]) -> "Job":
    import catseg
    from catseg.segmenting.job import Job
    from catseg.segmenting.results import ResultFolder
    from catseg.vocabulary import load_vocabulary

    classes: Vocabulary = load_vocabulary(args.classes)
    results = ResultFolder(args.output, images, args.save, args.format) if args.output else None
    model = catseg.load(args.model, device=args.device)
    return Job(
        model,
        classes,
        results,
        options={
            "threshold": args.threshold,
            "background": args.background,
            "batch": args.batch,
            "threads": args.workers,
            "keep_probabilities": results is not None and "scores" in args.save,
        },
        writers=args.workers,
        frames=args.frames,
    )


def _print(record: Mapping[str, Any], to: TextIO | None = None) -> None:
    """Print a line, to standard output by default; names that are no valid Unicode are escaped, as JSON can."""
    file = to or sys.stdout
    file.write(json.dumps(record, allow_nan=False) + "\n")
    file.flush()


def _silent(record: Mapping[str, Any]) -> None:
    """Print nothing."""
