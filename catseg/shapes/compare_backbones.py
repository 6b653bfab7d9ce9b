"""The generated data with guidance from every family of backbones: one run each, all from random weights.

    python -m catseg.shapes.compare_backbones --output output/shapes

trains the smallest published size of each family for the same steps, with the same seed, schedule and pretrained CLIP,
and writes `backbones.md`, `backbones.json` and `backbones.png`. The data and the CLIP are those of
`catseg.shapes.demo`, where it ran. Running the command again makes only what is missing or was asked for differently.
"""

import argparse
import json
import os
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_backbone
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tabulate import tabulate

from catseg.arguments import file_path
from catseg.atomic import atomic_path, write_json
from catseg.config import load_config
from catseg.console import add_debug_option
from catseg.model_facts.cost import all_sizes
from catseg.model_facts.table import MAPS
from catseg.shapes.demo import TRAINING_STEPS, run_as_command, run_jobs
from catseg.shapes.generate import generate_shapes
from catseg.shapes.pretrain_clip import Pretraining, pretrain_clip
from catseg.shapes.report import COLUMNS, Row, collect_rows
from catseg.shapes.run import Job

CLIP = "default-seed0"  # as `catseg.shapes.demo` names it
PRETRAINING = Pretraining()
TIMM_MODEL = "pvt_v2_b0"
NOTES = """\
mIoU in percent, columns as in `results.md`. Every backbone starts from random weights and trains with the rest for the
same steps, seed, schedule and learning rate, beneath the same CLIP; none was tuned for. So the table says that each
family's guidance trains, and what it costs. It does not rank the families: that takes pretrained weights and
photographs. Parameters are those of the backbone up to `res4`; the Swin is that of `configs/catseg_shapes.yaml`, the
others are the smallest sizes that their authors publish. Seconds are of a training step of 4 images on one core, while
other runs may keep the other cores busy.
"""


@dataclass(frozen=True)
class BackboneJob(Job):
    """A run whose CLIP is shared with the others."""

    @property
    def clip_folder(self) -> Path:
        """Return the folder of the CLIP."""
        return self.output / "clip" / CLIP

    @property
    def run_folder(self) -> Path:
        """Return the output folder of CAT-Seg."""
        return self.output / "backbones" / self.name


@dataclass(frozen=True)
class Result:
    """Outcome of a run.

    Attributes:
        name: of the backbone.
        parameters: of the backbone, in millions.
        seconds: median time of a training step.
        values: column of `COLUMNS` to mIoU in percent.
    """

    name: str
    parameters: float
    seconds: float
    values: Mapping[str, float]


def backbone_options() -> dict[str, dict[str, Any]]:
    """Name of each backbone to the config keys that choose it: Swin, ResNet, families with sizes, a timm model."""
    resnet = {"DEPTH": 18, "RES2_OUT_CHANNELS": 64, "NORM": "BN", "OUT_FEATURES": list(MAPS)}
    sizes = {
        f"{family}-{next(iter(sizes))}": _chosen(family, next(iter(sizes)))
        for family, sizes in all_sizes().items()
        if family != "D2SwinTransformer"
    }
    return {
        "Swin-shapes": {},
        "ResNet-18": {
            "MODEL.BACKBONE.NAME": "build_resnet_backbone",
            **{f"MODEL.RESNETS.{key}": value for key, value in resnet.items()},
        },
        **sizes,
        f"timm-{TIMM_MODEL}": _chosen("TimmBackbone", TIMM_MODEL),
    }


def _chosen(family: str, size: str) -> dict[str, Any]:
    return {"MODEL.BACKBONE.NAME": family, "MODEL.BACKBONE.SIZE": size, "MODEL.BACKBONE.DROP_PATH_RATE": 0.0}


def plan_jobs(args: argparse.Namespace) -> list[BackboneJob]:
    """List the runs that the command line asks for."""
    options = backbone_options()
    return [
        BackboneJob(
            name=name,
            output=args.output,
            config_file=args.config_file,
            options=(
                *("SOLVER.MAX_ITER", str(TRAINING_STEPS)),
                *(str(word) for pair in options[name].items() for word in pair),
                *args.opts,
            ),
            pretraining=PRETRAINING,
        )
        for name in args.backbones
    ]


def compare(args: argparse.Namespace) -> int:
    """Run everything, and return the exit status: 0 if guidance of every family beats the raw cost volume."""
    torch.set_num_threads(1)  # as in the runs, so that a CLIP made here is that of `catseg.shapes.demo`
    root = (args.output / "datasets").absolute()
    os.environ["DETECTRON2_DATASETS"] = str(root)
    generate_shapes(root)
    jobs = plan_jobs(args)
    pretrain_clip(jobs[0].clip_folder, PRETRAINING)  # before the runs, which all read it
    outcomes = run_jobs(jobs)
    rows = [{row.kind: row for row in collect_rows([outcome])} for outcome in outcomes]
    results = [describe(job, kinds["catseg"]) for job, kinds in zip(jobs, rows, strict=True)]
    raw = rows[0]["raw"]
    table = write_report(args.output, results, raw, command=args.command)
    sys.stdout.write(f"\n{table}\n\nWritten to {args.output}/backbones.md, .json and .png\n")
    losers = [result.name for result in results if result.values["never seen"] <= raw.mean("never seen")]
    if losers:
        sys.stdout.write(f"FAILED: on never-seen classes, no better than the raw cost volume: {', '.join(losers)}\n")
    return 1 if losers else 0


def describe(job: Job, row: Row) -> Result:
    """Measure the backbone of a finished run; `row` has the results of the run's CAT-Seg."""
    cfg = load_config(job.config_file, job.options)
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in build_backbone(cfg).parameters())
    lines = (job.run_folder / "metrics.json").read_text(encoding="utf-8").splitlines()
    seconds = statistics.median(metrics["time"] for metrics in map(json.loads, lines) if "time" in metrics)
    return Result(job.name, parameters / 1e6, seconds, {column: row.mean(column) for column in COLUMNS})


def write_report(folder: Path, results: Sequence[Result], raw: Row, *, command: str) -> str:
    """Write `backbones.md`, `backbones.json` and `backbones.png`.

    Args:
        folder: to write to.
        results: a line of the table each.
        raw: the raw cost volume, which needs no backbone.
        command: that made them.

    Returns:
        The table, in Markdown.
    """
    cells = [["none: raw cost volume", "", "", *(raw.text(column) for column in COLUMNS)]]
    for result in results:
        numbers = (f"{result.values[column]:.1f}" for column in COLUMNS)
        cells.append([result.name, f"{result.parameters:.2f}", f"{result.seconds:.2f}", *numbers])
    headers = ["guidance", "parameters, M", "s per step", *COLUMNS]
    align = ("left", *["right"] * (len(headers) - 1))
    table = tabulate(cells, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=align)
    report = {
        "command": command,
        "raw": {column: raw.mean(column) for column in COLUMNS},
        "results": [asdict(result) for result in results],
    }
    with atomic_path(folder / "backbones.md") as path:
        path.write_text(
            f"# Every family of backbones on `shapes`\n\n`{command}`\n\n{table}\n\n{NOTES}", encoding="utf-8"
        )
    write_json(folder / "backbones.json", report)
    with atomic_path(folder / "backbones.png") as path:
        _plot(results, raw).savefig(path)
    return table


def _plot(results: Sequence[Result], raw: Row) -> Figure:
    """Two bars per backbone, seen and never seen, and a line for the raw cost volume at either."""
    figure = Figure(figsize=(8, 1.2 + 0.42 * len(results)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    height = 0.4
    columns = (("seen", "#9aa5b1", ":"), ("never seen", "#1f6fb2", "--"))
    for shift, (column, color, line) in zip((-0.5, 0.5), columns, strict=True):
        places = [index + shift * height for index in range(len(results))]
        bars = axes.barh(
            places, [result.values[column] for result in results], height * 0.92, label=column, color=color
        )
        axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=2)
        label = f"raw cost volume, {column}"
        axes.axvline(raw.mean(column), color="black", linestyle=line, linewidth=1, label=label)
    axes.set_yticks(
        range(len(results)), [f"{result.name}, {result.parameters:.1f} M" for result in results], fontsize=8
    )
    axes.invert_yaxis()
    axes.set_xlabel("mIoU (%)")
    axes.set_xlim(0, 105)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, ncols=4, frameon=False, loc="upper center", bbox_to_anchor=(0.4, 1.1))
    return figure


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line. `command` is how to type it again."""
    parser = argparse.ArgumentParser(
        prog="python -m catseg.shapes.compare_backbones",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = list(backbone_options())
    parser.add_argument("--output", type=file_path, default=Path("output/shapes"), help="folder (default: %(default)s)")
    parser.add_argument(
        "--config-file", type=file_path, default=Path("configs/catseg_shapes.yaml"), help="(default: %(default)s)"
    )
    parser.add_argument("--backbones", nargs="+", choices=known, default=known, metavar="NAME", help=", ".join(known))
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs that override the config, at the end"
    )
    add_debug_option(parser)
    args = parser.parse_args(arguments)
    args.command = shlex.join(["python", "-m", "catseg.shapes.compare_backbones", *arguments])
    return args


def main() -> None:
    """Run the command."""
    args = parse_arguments(sys.argv[1:])
    run_as_command("catseg.shapes.compare_backbones", lambda: compare(args))


if __name__ == "__main__":
    main()
