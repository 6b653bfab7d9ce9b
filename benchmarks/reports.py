"""Results of a benchmark as a table, JSON or plot, and compared with an earlier report."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from tabulate import tabulate

from benchmarks.harness import CALIBRATION_SIDE
from catseg.arguments import file_path, positive
from catseg.atomic import atomic_path, json_text, write_json


@dataclass(frozen=True)
class Report:
    """Results of a benchmark.

    Attributes:
        title: what was compared.
        settings: how.
        machine: on what, as `machine()` says.
        calibration: milliseconds of the matrix product of `calibrate()`, first and last.
        rows: what is in the table, a dictionary per line.
        raw: every single run, in any form that JSON knows.
        measures: name of each case to its figures, which images show and later runs compare with.
        headline: what stands at the top of the JSON object.
    """

    title: str
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    calibration: tuple[float, float]
    rows: Sequence[Mapping[str, str]]
    raw: Any
    measures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    headline: Mapping[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """The report as text; `raw` is left out."""
        before, after = self.calibration
        described = {**self.settings, **self.machine}
        side = CALIBRATION_SIDE
        return "\n".join(
            [
                f"# {self.title}",
                "",
                ", ".join(f"{name} {value}" for name, value in described.items()),
                f"Product of two {side} x {side} float32 matrices: {before:.0f} ms before, {after:.0f} ms after",
                "",
                _table(self.rows),
                "",
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """The whole report."""
        named = ("title", "settings", "machine", "calibration", "measures", "rows", "raw")
        return {**self.headline, **{name: getattr(self, name) for name in named}}


def comparison(report: Report, earlier: Mapping[str, Any]) -> list[dict[str, str]]:
    """A line for each figure that an earlier report, as read from JSON, has too.

    Raises:
        ValueError: if there is none.
    """
    rows = [
        {"case": case, "figure": name, "before": f"{old:.4g}", "now": f"{now:.4g}", "ratio": f"{now / old:.2f}"}
        for case, figures in report.measures.items()
        for name, now in figures.items()
        if (old := earlier.get("measures", {}).get(case, {}).get(name))
    ]
    if not rows:
        raise ValueError(
            f"the report to compare with has the cases {list(earlier.get('measures', {}))}, "
            f"none of {list(report.measures)}"
        )
    return rows


def differences(report: Report, earlier: Mapping[str, Any]) -> list[str]:
    """List differences in settings that make a comparison with an earlier report unfair, a line for each."""
    now = {"title": report.title, **report.settings, **report.machine}
    before = {"title": earlier.get("title"), **earlier["settings"], **earlier.get("machine", {})}
    names = [name for name in now if name != "rounds" and name in before and before[name] != now[name]]
    return [f"not the same: {name} was {before[name]}, is {now[name]}" for name in names]


def draw(report: Report, path: Path) -> None:
    """Draw the measures: a panel for each figure, with a bar for each case. The suffix chooses the format."""
    names = list(dict.fromkeys(name for figures in report.measures.values() for name in figures))
    cases = list(report.measures)
    figure = Figure(figsize=(3.5 * (1 + len(names)), 1.2 + 0.4 * len(cases)), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False, sharey=True)[0], names, strict=True):
        values = {case: report.measures[case][name] for case in cases if name in report.measures[case]}
        bars = axes.barh([cases.index(case) for case in values], list(values.values()), color="#4477aa")
        axes.bar_label(bars, fmt="%.3g", padding=3)
        axes.margins(x=0.25)
        axes.set_yticks(range(len(cases)), cases)
        axes.set_title(name.replace("_", " ").replace("gib", "GiB"))
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    figure.suptitle(report.title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def make_parser(script: str, description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """The command line of a benchmark, with the options that all of them have.

    Args:
        script: its file in `benchmarks/`, without the ending.
        description: its docstring.
        rounds: timed runs by default.
    """
    parser = argparse.ArgumentParser(
        prog=f"python benchmarks/{script}.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    threads = torch.get_num_threads()
    parser.add_argument("--threads", type=positive, default=threads, help="default: %(default)s")
    parser.add_argument("--rounds", type=positive, default=rounds, help="timed runs of each (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--save", type=file_path, metavar="FILE", help="write the JSON object to FILE too")
    parser.add_argument(
        "--compare", type=_saved_report, metavar="FILE", help="compare with an object that --save wrote earlier"
    )
    parser.add_argument("--plot", type=_image, metavar="FILE", help="draw the figures into FILE (.png, .svg, ...)")
    return parser


def _saved_report(text: str) -> dict[str, Any]:
    """Read what `--save` wrote, before anything is measured."""
    try:
        report = json.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be read as a report that --save wrote: {error}") from error
    if not isinstance(report, dict) or not all(isinstance(report.get(name), dict) for name in ("measures", "settings")):
        raise argparse.ArgumentTypeError(f"{text} is no report that --save wrote")
    return report


def _image(text: str) -> Path:
    """The path of an image, if its suffix names a format."""
    known = Figure().canvas.get_supported_filetypes()
    if Path(text).suffix.removeprefix(".") not in known:
        raise argparse.ArgumentTypeError(f"{text} must end in one of {', '.join(f'.{name}' for name in known)}")
    return Path(text)


def add_model_options(parser: argparse.ArgumentParser, config: str = "configs/catseg_ade150.yaml") -> None:
    """Add the options that choose a model."""
    parser.add_argument("--config", default=config, help="default: %(default)s")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config overrides")


def publish(report: Report, args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Print, write, compare and draw a report as the options of `make_parser` ask for.

    Ends the program with a message if a file cannot be written, or the report has nothing in common with the one to
    compare with.
    """
    try:
        _publish(report, args)
    except (OSError, ValueError) as error:
        parser.error(str(error))


def _publish(report: Report, args: argparse.Namespace) -> None:
    content = json_text(report.to_json())
    sys.stdout.write(content if args.json else report.markdown())
    if args.save is not None:
        write_json(args.save, report.to_json())
    if args.plot is not None:
        draw(report, args.plot)
    if args.compare is not None:
        lines = [_table(comparison(report, args.compare)), *differences(report, args.compare)]
        (sys.stderr if args.json else sys.stdout).write("\n" + "\n".join(lines) + "\n")


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)
