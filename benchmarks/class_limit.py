"""Savings and cost of TEST.MAX_CLASSES on the images of a test set.

    python benchmarks/class_limit.py --config configs/catseg_shapes.yaml --limits 18 9 --opts MODEL.WEIGHTS model.pth

The images are those of the first data set in DATASETS.TEST, looked at with all of its classes. *Agreement* is the
share of all pixels that get the label which they get without a limit. With random weights it says nothing.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import torch
from detectron2.data import DatasetCatalog
from torch import Tensor
from tqdm import tqdm

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import calibrate, machine, time_in_units
from benchmarks.models import load_model
from benchmarks.reports import Report, add_model_options, make_parser, publish
from catseg.arguments import positive
from catseg.data.registration import dataset_vocabulary, register_datasets
from catseg.engine.evaluate import build_test_loader
from catseg.errors import InputError, UserError
from catseg.modeling.aggregation.aggregator import Aggregator
from catseg.modeling.meta_arch import CATSeg


def measure(config: str, options: Sequence[str], limits: Sequence[int], *, images: int, rounds: int) -> dict[str, Any]:
    """Measure some limits.

    Args:
        config: a config file.
        options: overrides as a flat list.
        limits: values of TEST.MAX_CLASSES.
        images: how many images to look at, at most.
        rounds: timed runs of each.

    Returns:
        For each limit, as text, and for `all` of the classes: `agreement`, 0..1, and `units` and `seconds` per image.

    Raises:
        FileNotFoundError, KeyError, ValueError: if config, weights or data cannot be used.
    """
    cfg, model = load_model(config, options, given_text=False)
    dataset = next(iter(cfg.DATASETS.TEST), "")
    if dataset not in DatasetCatalog:
        raise InputError(f"DATASETS.TEST must name a data set to look at, got {dataset!r}")
    model.set_vocabulary(dataset_vocabulary(dataset))
    samples = list(islice(chain.from_iterable(build_test_loader(cfg, dataset)), images))
    names = {"all": 0} | {str(limit): limit for limit in limits}
    labels = {name: torch.cat(_labels(model, samples, limit)) for name, limit in names.items()}
    calls = {name: partial(_labels, model, samples, limit) for name, limit in names.items()}
    timings = time_in_units(calls, rounds=rounds)
    return {
        name: {
            "agreement": float((labels[name] == labels["all"]).float().mean()),
            "units": timing.units.median / len(samples),
            "seconds": timing.median / len(samples),
        }
        for name, timing in timings.items()
    }


@torch.no_grad()
def _labels(model: CATSeg, samples: Sequence[Mapping[str, Any]], limit: int) -> list[Tensor]:
    """Labels of all pixels of each image, with a limit or, if it is 0, without."""
    cast(Aggregator, model.sem_seg_head.get_submodule("aggregator")).max_classes_test = limit
    bar = tqdm(samples, unit="image", desc=f"{limit or 'all'} classes", disable=None)
    return [model.predict_labels([sample])[0]["labels"].flatten() for sample in bar]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = _parser()
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    register_datasets()
    first = calibrate()
    try:
        found = measure(args.config, args.opts, args.limits, images=args.images, rounds=args.rounds)
    except (OSError, UserError) as error:
        parser.error(str(error))
    options = " ".join(args.opts) or "none"
    report = Report(
        title="A limit on the classes of a window",
        settings={"config": args.config, "options": options, "images": args.images, "rounds": args.rounds},
        machine=machine(),
        calibration=(first, calibrate()),
        rows=[
            {"TEST.MAX_CLASSES": name} | {figure: f"{value:.4g}" for figure, value in figures.items()}
            for name, figures in found.items()
        ],
        raw=found,
        measures=found,
    )
    publish(report, args, parser)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("class_limit", __doc__, rounds=3)
    add_model_options(parser, "configs/catseg_shapes.yaml")
    parser.add_argument("--limits", type=positive, nargs="+", default=[18, 9], metavar="N", help="default: 18 9")
    parser.add_argument("--images", type=positive, default=100, help="images at most (default: %(default)s)")
    return parser


if __name__ == "__main__":
    main()
