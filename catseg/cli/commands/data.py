"""Check and convert data sets of your own, and show which benchmarks are on this machine."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from catseg.arguments import file_path, positive
from catseg.cli.settings import add_data_arguments

if TYPE_CHECKING:
    from catseg.data.formats import DataReport

EPILOG = """\
examples:
  catseg data check mydata.yaml
  catseg data check folder/ --page report.html
  catseg data convert folder/ --to coco -o converted/
  catseg data status
  catseg data status --verify voc_2012_test_sem_seg

formats: Ultralytics, label images with a list of names, coloured masks, COCO, labelme, Pascal VOC, CVAT, Cityscapes
exit status: 0 all is well, 1 training on the data would be wrong, or files of a benchmark differ, 2 wrong use
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of all actions, each of which has its own."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    source = argparse.ArgumentParser(add_help=False)
    source.add_argument("path", metavar="PATH", type=file_path, help="a file such as data.yaml, or a folder")
    add_data_arguments(source)
    source.add_argument("--workers", type=positive, metavar="N", help="processes (default: one for each processor)")

    check = actions.add_parser("check", parents=[source], help="look for all that makes training wrong")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.add_argument("--page", type=file_path, metavar="FILE", help="also write it as an HTML page, with samples")
    check.add_argument("--sheet", type=file_path, metavar="FILE", help="also write samples as one image")

    convert = actions.add_parser("convert", parents=[source], help="write a data set in another format")
    convert.add_argument("--to", required=True, metavar="FORMAT", help="label-images, coco, ...; a wrong one lists all")
    convert.add_argument("-o", "--output", required=True, type=file_path, metavar="FOLDER", help="where it is made")

    for name, summary in (("status", "which benchmarks are here and what comes next"), ("list", "all benchmarks")):
        action = actions.add_parser(name, help=summary)
        action.add_argument("names", nargs="*", metavar="NAME", help="a registered name; default: all")
        if name == "status":
            action.add_argument("--root", type=file_path, help="folder of all data sets; default: $DETECTRON2_DATASETS")
            action.add_argument("--verify", action="store_true", help="compare all files with their checksums")


def run(args: argparse.Namespace) -> int:
    """Do what is asked for; return the exit status."""
    return {"check": _check, "convert": _convert, "status": _benchmarks, "list": _benchmarks}[args.action](args)


def _check(args: argparse.Namespace) -> int:
    from catseg.data.formats import check_data, read_dataset
    from catseg.data_report.contact_sheet import write_contact_sheet
    from catseg.data_report.page import write_data_page

    where = {"format": args.data_format, "unlabelled": args.unlabelled}
    report = check_data(args.path, **where, workers=args.workers)
    text = json.dumps(report.as_json(), indent=2, allow_nan=False) if args.json else _as_text(report)
    sys.stdout.write(f"{text}\n")
    if args.page or args.sheet:
        dataset = read_dataset(args.path, **where)
        if args.page:
            write_data_page(args.page, dataset, report)
        if args.sheet:
            write_contact_sheet(args.sheet, dataset)
    return 0 if report.ok else 1


def _as_text(report: "DataReport") -> str:
    lines = [f"{report.path}: {report.format}, {len(report.classes)} classes; {report.unlabelled}"]
    for name, split in report.splits.items():
        lines.append(f"{name}: {split.images} images, {100 * split.ignored:.1f} % of the pixels ignored")
        lines += [f"  {found.name}: {100 * found.share:.2f} %, in {found.images} images" for found in split.classes]
    for kind, found in (("problem", report.problems), ("warning", report.warnings), ("note", report.notes)):
        lines += [f"{kind}: {line}" for line in found]
    return "\n".join([*lines, "ready for training" if report.ok else "not ready for training"])


def _convert(args: argparse.Namespace) -> int:
    from catseg.data.formats import convert

    made = convert(
        args.path, args.to, args.output, format=args.data_format, unlabelled=args.unlabelled, workers=args.workers
    )
    sys.stdout.write(f"{os.fspath(made)}\n")
    return 0


def _benchmarks(args: argparse.Namespace) -> int:
    from catseg.tools.datasets import main

    words = [args.action, *args.names]
    if args.action == "status":
        words += ["--verify"] * args.verify + (["--root", str(args.root)] if args.root else [])
    return main(words)
