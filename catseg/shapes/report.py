"""Table and plot of runs on the generated data."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tabulate import tabulate

from catseg.atomic import atomic_path, write_json

SEEN_TEST, UNSEEN_TEST = "shapes_seen_test_sem_seg", "shapes_unseen_test_sem_seg"
# Column -> where the results of a run have its number.
COLUMNS = {
    "seen": (SEEN_TEST, "mIoU"),
    "seen objects": (SEEN_TEST, "mIoU-objects"),
    "never seen": (UNSEEN_TEST, "mIoU-held-out"),
    "never-seen objects": (UNSEEN_TEST, "mIoU-held-out-objects"),
}
KINDS = {"raw": "raw cost volume", "catseg": "CAT-Seg", "control": "CAT-Seg, names permuted"}
NOTES = """\
mIoU in percent on test images, with all 36 class names to choose from. CAT-Seg learns from label maps of 27 classes,
23 objects and 4 grounds: these are *seen*. *Never seen* are the 9 others, 7 objects and 2 grounds. No pixel of them is
in a training image of CAT-Seg; in the test images for them each has at least one, among seen classes.

- Rows without a mark: the CLIP beneath was pretrained on images whose captions name all 36 classes, as a CLIP
  trained on the web has read of most things. *Never seen* means: never in a label map.
- *Strict*: the CLIP's images and captions leave out the 7 held-out objects, too. *Never-seen objects* means here:
  neither drawn nor named in any training. Their colours and textures were, in other company. The 2 held-out grounds,
  whose names are no compositions, are in CLIP's captions, so they are unseen only as in the other rows.
- *Raw cost volume*: each pixel gets the name nearest to its CLIP feature, before any training on label maps.
- *Names permuted*: the trained model is told for each class the name of another one. Guessing would give about 1; a
  model that goes by the names gives less.
"""


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: of the line.
        strict: whether its CLIP knows no held-out patches.
        kind: one of `KINDS`.
        values: column -> mIoU of each seed, in percent.
    """

    name: str
    strict: bool
    kind: str
    values: Mapping[str, Sequence[float]]

    def mean(self, column: str) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values[column])

    def text(self, column: str) -> str:
        """Mean over the seeds and, of several, the standard deviation."""
        values = self.values[column]
        return f"{self.mean(column):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def collect_rows(outcomes: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Put the results of runs together, over their seeds.

    Args:
        outcomes: of `run_job`.
    """
    rows = []
    for strict in (False, True):
        group = [outcome["results"] for outcome in outcomes if outcome["clip"]["settings"]["strict"] is strict]
        for kind, name in KINDS.items() if group else ():
            values = {
                column: [results[kind][dataset]["sem_seg"][metric] for results in group]
                for column, (dataset, metric) in COLUMNS.items()
            }
            rows.append(Row(f"{name}, strict" if strict else name, strict, kind, values))
    return rows


def write_report(folder: Path, rows: Sequence[Row], outcomes: Sequence[Mapping[str, Any]], *, command: str) -> str:
    """Write `results.md`, `results.json` and `results.png`.

    Args:
        folder: to write to.
        rows: of `collect_rows`.
        outcomes: what the rows were made of.
        command: that made them.

    Returns:
        The table, in Markdown.
    """
    cells = [[row.name, *(row.text(column) for column in COLUMNS)] for row in rows]
    table = tabulate(cells, headers=["", *COLUMNS], tablefmt="pipe", disable_numparse=True)
    seeds = sorted({outcome["clip"]["settings"]["seed"] for outcome in outcomes})
    over = f"Mean and standard deviation over the seeds {seeds}." if len(seeds) > 1 else f"Seed {seeds[0]}."
    clips = "\n".join(f"- {_describe_clip(outcome['clip'])}" for outcome in outcomes)
    text = (
        f"# CAT-Seg on the generated data set `shapes`\n\n`{command}`\n\n{table}\n\n{over}\n\n{NOTES}\n"
        f"Share of the objects' pixels that the CLIPs' dense features name right, out of 30 names:\n\n{clips}\n"
    )
    report = {
        "command": command,
        "rows": [{"name": row.name, "strict": row.strict, "kind": row.kind, "mIoU": row.values} for row in rows],
        "runs": list(outcomes),
    }
    with atomic_path(folder / "results.md") as path:
        path.write_text(text, encoding="utf-8")
    write_json(folder / "results.json", report)
    with atomic_path(folder / "results.png") as path:
        _plot(rows).savefig(path)
    return table


def _describe_clip(report: Mapping[str, Any]) -> str:
    settings, accuracy = report["settings"], report["accuracy"]
    kind = "strict" if settings["strict"] else "default"
    return f"{kind}, seed {settings['seed']}: {accuracy['told']:.2f}; of held-out ones {accuracy['held_out']:.2f}"


def _plot(rows: Sequence[Row]) -> Figure:
    """Bars of the means but for the control, a group per column, whiskers from the worst to the best seed."""
    rows = [row for row in rows if row.kind != "control"]
    figure = Figure(figsize=(8, 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    width = 0.85 / len(rows)
    colors = {"raw": "#9aa5b1", "catseg": "#1f6fb2"}
    for index, row in enumerate(rows):
        means = [row.mean(column) for column in COLUMNS]
        ends = [(row.mean(c) - min(row.values[c]), max(row.values[c]) - row.mean(c)) for c in COLUMNS]
        places = [group + (index - (len(rows) - 1) / 2) * width for group in range(len(COLUMNS))]
        bars = axes.bar(
            places,
            means,
            width * 0.92,
            yerr=list(zip(*ends, strict=True)),
            label=row.name,
            color=colors[row.kind],
            hatch="///" if row.strict else None,
            edgecolor="white",
            error_kw={"elinewidth": 1, "ecolor": "#333333"},
        )
        axes.bar_label(bars, fmt="%.0f", fontsize=7, padding=2)
    axes.set_xticks(range(len(COLUMNS)), list(COLUMNS))
    axes.set_ylabel("mIoU (%)")
    axes.set_ylim(0, 105)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, ncols=2, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    return figure
