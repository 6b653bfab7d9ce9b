"""Time and memory of one image, from pixels to labels, text features given.

    python benchmarks/inference.py --config configs/catseg_ade150.yaml --classes 150 --threads 1 --json

Times are also told in units: the time of a product of two 2048 x 2048 float32 matrices on the same threads, taken
before and after each run. Memory is the peak above the loaded model of the first image in a fresh process. Several
`--classes`, `--size` and `--dtype` give a case for each combination. Weights are random unless the options name some.
"""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import (
    CalibratedTiming,
    StageClock,
    calibrate,
    in_fresh_process,
    machine,
    peak_memory,
    time_in_units,
)
from benchmarks.models import load_model, random_image
from benchmarks.plain.catseg import PlainCATSeg
from benchmarks.reports import Report, add_model_options, make_parser, publish
from catseg.arguments import positive
from catseg.data.inference_sample import inference_resize, inference_sample
from catseg.errors import InputError, UserError
from catseg.modeling.meta_arch import CATSeg

MARGIN = 1e-3  # labels are compared where the two most probable classes differ by more
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Case:
    """Settings of a measurement.

    Attributes:
        config: a config file.
        options: overrides as a flat list.
        classes: how many.
        size: height and width of the image.
        dtype: computing type, a key of `DTYPES`.
        threads: of the processor.
        plain: measure the plain transcription instead of our network.
    """

    config: str
    options: tuple[str, ...]
    classes: int
    size: tuple[int, int]
    dtype: str
    threads: int
    plain: bool = False

    def __str__(self) -> str:
        """The name in reports."""
        height, width = self.size
        return f"{self.classes} classes, {height} x {width}, {self.dtype}{', plain' if self.plain else ''}"


@dataclass
class Result:
    """Result of a measurement.

    Attributes:
        timing: the runs.
        stages: seconds per run of each stage; what is left, such as resizing and argmax, counts as post-processing.
        peak: GiB above the loaded model.
        checks: how the output compares with others.
    """

    timing: CalibratedTiming
    stages: dict[str, float]
    peak: float | None
    checks: dict[str, float]

    def figures(self) -> dict[str, Any]:
        """Everything as JSON knows it."""
        low, high = self.timing.units.spread
        return {
            "units": self.timing.units.median,
            "units_quartiles": [low, high],
            "seconds": self.timing.median,
            "images_per_second": 1 / self.timing.median,
            "peak_gib_above_model": self.peak,
            "stages": self.stages,
            **self.checks,
            "runs_seconds": self.timing.seconds,
            "runs_units": self.timing.units.seconds,
        }


class Network:
    """A loaded model, ours and plain, that computes cases."""

    def __init__(self, case: Case) -> None:
        """Load what a case names; other cases differ in classes, size and type only."""
        torch.set_num_threads(case.threads)
        self.cfg, self.model = load_model(case.config, case.options, given_text=True)
        if case.plain and not self.cfg.TEST.SLIDING_WINDOW:
            raise InputError("the plain form always cuts windows: with --plain, TEST.SLIDING_WINDOW must be True")
        self.resize = inference_resize(self.cfg)
        self.plain = PlainCATSeg(self.model, self.cfg).eval() if case.plain else None

    def call(self, case: Case, *, labels: bool = True) -> Callable[[], Tensor]:
        """Return the function to measure: it computes labels `(H, W)`, or probabilities `(T, H, W)`."""
        pixels = random_image(*case.size).permute(1, 2, 0).numpy()
        self.model.set_vocabulary([f"class {i}" for i in range(case.classes)])
        text = self.model.text_features(self.model.classes)

        def ours(sample: dict[str, Any]) -> Tensor:
            self.model.test_dtype = DTYPES[case.dtype]
            if labels:
                return self.model.predict_labels([sample])[0]["labels"]
            return self.model([sample])[0]["sem_seg"]

        def plain(sample: dict[str, Any]) -> Tensor:
            assert self.plain is not None
            with torch.autocast("cpu", dtype=DTYPES[case.dtype], enabled=case.dtype != "float32"):
                probabilities = self.plain(sample["image"], text, case.size)
            return probabilities.argmax(dim=0) if labels else probabilities

        def run() -> Tensor:
            sample = inference_sample(pixels, self.resize)
            with torch.inference_mode():
                return plain(sample) if case.plain else ours(sample)

        return run


def stages_of(model: CATSeg) -> dict[str, list[tuple[object, str]]]:
    """The methods in which each stage of inference happens."""
    aggregator = model.sem_seg_head.get_submodule("aggregator")
    layers = [layer for _, layer in aggregator.get_submodule("layers").named_children()]
    return {
        "text": [(model, "text_features")],
        "CLIP": [(type(model.image_encoder), "encode")],
        "backbone": [(model.backbone or model.clip_pyramid, "forward")],
        "cost volume": [(aggregator.get_submodule("cost_embedding"), "forward")],
        "spatial": [(layer.get_submodule("spatial"), "forward") for layer in layers],
        "class": [(layer.get_submodule("class_"), "forward") for layer in layers],
        "decoder": [(aggregator.get_submodule("decoder"), "forward")],
        "merge": [(type(model.view), "merge")],
    }


def measure_peak(case: Case) -> float | None:
    """GiB above the loaded model that the first image takes at most; to be called in a fresh process."""
    call = Network(case).call(case)
    peak = peak_memory(call)
    return None if peak is None else peak / 1024


def measure(case: Case, network: Network, *, rounds: int, checks: dict[str, float]) -> Result:
    """Time a case and take its peak; `checks` tells how its output compares with others."""
    peak = in_fresh_process(measure_peak, case)
    clock = StageClock()
    call = clock.timed("all", network.call(case))
    with clock.watch({} if case.plain else stages_of(network.model)):
        timing = time_in_units({"run": call}, rounds=rounds)["run"]
    stages = {name: seconds / rounds for name, seconds in clock.seconds.items()}
    rest = stages.pop("all") - sum(stages.values())
    return Result(timing, stages | {"post-processing": rest} if stages else {}, peak, checks)


def compare(case: Case, network: Network) -> dict[str, float]:
    """Compare a case's output with the plain network's, or that of low precision with float32's.

    This runs the case once, so that nothing is run for the first time when it is timed.
    """
    found = network.call(case, labels=False)().float()
    checks: dict[str, float] = {}
    if case.dtype != "float32":
        expected = network.call(dataclasses.replace(case, dtype="float32"), labels=False)()
        top = expected.topk(2, dim=0).values if case.classes > 1 else expected
        clear = top[0] - top[-1] > MARGIN
        checks["pixels_compared"] = float(clear.float().mean())
        checks["labels_agree"] = float((found.argmax(dim=0) == expected.argmax(dim=0))[clear].float().mean())
    elif network.plain is not None and not case.plain:
        expected = network.call(dataclasses.replace(case, plain=True), labels=False)()
        checks["difference_from_plain"] = float((found - expected).abs().max())
    return checks


def run_cases(cases: Sequence[Case], *, plain: bool, rounds: int) -> dict[Case, Result]:
    """Measure all cases, each followed by its plain form if that is wanted."""
    network = Network(dataclasses.replace(cases[0], plain=plain))
    results = {}
    wanted = [form for case in cases for form in ([case, dataclasses.replace(case, plain=True)] if plain else [case])]
    with tqdm(wanted, unit="case") as progress:
        for case in progress:
            progress.set_description(str(case))
            checks = {} if case.plain else compare(case, network)
            results[case] = measure(case, network, rounds=rounds, checks=checks)
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the cases that the command line asks for."""
    parser = _parser()
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    cases = [
        Case(args.config, tuple(args.opts), classes, size, dtype, args.threads)
        for dtype, size, classes in itertools.product(args.dtype, args.size, args.classes)
    ]
    first = calibrate()
    try:
        results = run_cases(cases, plain=args.plain, rounds=args.rounds)
    except (OSError, UserError) as error:
        parser.error(str(error))
    figures = {str(case): result.figures() for case, result in results.items()}
    report = Report(
        title="One image",
        settings={"config": args.config, "options": " ".join(args.opts) or "none", "rounds": args.rounds},
        machine=machine(),
        calibration=(first, calibrate()),
        rows=[_row(case, result) for case, result in results.items()],
        raw=figures,
        measures={name: _measures(found) for name, found in figures.items()},
        headline=figures[str(cases[0])],
    )
    publish(report, args, parser)


def _row(case: Case, result: Result) -> dict[str, str]:
    low, high = result.timing.units.spread
    return {
        "case": str(case),
        "units": f"{result.timing.units.median:.4g} [{low:.4g}, {high:.4g}]",
        "seconds": f"{result.timing.median:.3g}",
        "peak GiB above model": "-" if result.peak is None else f"{result.peak:.2f}",
        "stages, seconds": ", ".join(f"{name} {seconds:.2g}" for name, seconds in result.stages.items()),
        "checks": ", ".join(f"{name} {value:.4g}" for name, value in result.checks.items()),
    }


def _measures(figures: dict[str, Any]) -> dict[str, float]:
    return {name: figures[name] for name in ("units", "peak_gib_above_model") if figures[name] is not None}


def _size(text: str) -> tuple[int, int]:
    """Read `480x640`."""
    try:
        height, width = (positive(side) for side in text.split("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected height and width as in 480x640, got {text!r}") from error
    return height, width


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("inference", __doc__, rounds=3)
    add_model_options(parser)
    parser.add_argument("--classes", type=positive, nargs="+", default=[150], metavar="T", help="default: 150")
    parser.add_argument("--size", type=_size, nargs="+", default=[(480, 640)], metavar="HxW", help="default: 480x640")
    parser.add_argument("--dtype", choices=list(DTYPES), nargs="+", default=["float32"], help="default: float32")
    parser.add_argument("--plain", action="store_true", help="measure the plain transcription of the paper too")
    return parser


if __name__ == "__main__":
    main()
