"""The table of measured numbers beside the published ones, as Markdown, JSON and CSV."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tabulate import tabulate

from catseg.atomic import atomic_path, write_json
from catseg.benchmark.plan import Pair
from catseg.benchmark.published import MODELS, paper_name, published_miou
from catseg.data.dataset_specs import DATASETS

MINUS = "\N{MINUS SIGN}"
PARTIAL = "\N{DAGGER}"


@dataclass(frozen=True)
class Row:
    """One number of the table.

    Attributes:
        model: its name.
        benchmark: the data set's name, as papers have it if they do.
        dataset: the data set's registered name.
        miou: measured, in percent.
        published: published, in percent; None if there is none.
        difference: measured minus published, in points of percent; None if there is none, or if not all images were
            there.
        images: evaluated images.
        complete_images: images of the complete data set; None if that is not known.
        source: of the published number.
        weights: as they were named.
        sha256: of the file of the weights.
        date: of the measurement.
        device: that it was made on.
    """

    model: str
    benchmark: str
    dataset: str
    miou: float
    published: float | None
    difference: float | None
    images: int
    complete_images: int | None
    source: str
    weights: str
    sha256: str
    date: str
    device: str

    @property
    def partial(self) -> bool:
        """Tell whether images of the data set were missing."""
        return self.complete_images is not None and self.images != self.complete_images


def make_row(pair: Pair, record: Mapping[str, Any]) -> Row:
    """Make the row of a pair.

    Args:
        pair: the model and the data set.
        record: of `read_pair`.
    """
    published = published_miou(pair.model.name, pair.dataset)
    images, miou = record["settings"]["images"], record["scores"]["mIoU"]
    complete = next((spec.image_count for spec in DATASETS if spec.name == pair.dataset), None)
    comparable = published is not None and images == complete
    return Row(
        model=pair.model.name,
        benchmark=paper_name(pair.dataset),
        dataset=pair.dataset,
        miou=miou,
        published=published,
        difference=miou - published if published is not None and comparable else None,
        images=images,
        complete_images=complete,
        source="" if published is None else MODELS[pair.model.name].source,
        weights=record["weights"]["name"],
        sha256=record["weights"]["sha256"],
        date=record["measured"]["date"],
        device=record["measured"]["device"],
    )


def signed(difference: float) -> str:
    """Write a difference with its sign and two digits; what rounds to nothing has no sign."""
    text = f"{abs(difference):.2f}"
    if text == "0.00":
        return text
    return (MINUS if difference < 0 else "+") + text


def markdown(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """Lay out the rows, models by data sets, with what is to be known about them below.

    Args:
        rows: of `make_row`.
        notes: lines below the table.
    """
    names = list(dict.fromkeys(row.benchmark for row in rows))
    found = {(row.model, row.benchmark): row for row in rows}
    cells = [
        [_escape(model), *(_cell(found.get((model, name))) for name in names)]
        for model in dict.fromkeys(row.model for row in rows)
    ]
    table = tabulate(cells, headers=["model", *map(_escape, names)], tablefmt="pipe", disable_numparse=True)
    legend = ["mIoU in percent, measured."]
    if any(row.published is not None for row in rows):
        legend = ["mIoU in percent, measured; in brackets what is published and the difference in points."]
    if any(row.partial for row in rows):
        legend.append(f"{PARTIAL} Not all images of the data set were there, so there is nothing to compare with:")
        legend += [
            f"- {row.model} on {row.benchmark}: {row.images} of {row.complete_images}" for row in rows if row.partial
        ]
    sources = dict.fromkeys(row.source for row in rows if row.source)
    facts = [
        f"- {row.model} on {row.benchmark}: {row.images} images, {row.date}, {row.device}, weights {row.weights} "
        f"(sha256 {row.sha256[:16]})"
        for row in rows
    ]
    blocks = [table, "\n".join(legend), "\n".join(notes)]
    blocks += ["Published numbers:\n\n" + "\n".join(f"- {source}" for source in sources)] if sources else []
    blocks += ["Measured:\n\n" + "\n".join(facts)] if facts else []
    return "\n\n".join(block for block in blocks if block) + "\n"


def write_tables(folder: Path, rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Write `results.md`, `results.json` and `results.csv`.

    Args:
        folder: to write to.
        rows: of `make_row`.
        notes: what else is to be known.
    """
    with atomic_path(folder / "results.md") as path:
        path.write_text(markdown(rows, notes), encoding="utf-8")
    write_json(folder / "results.json", {"rows": [asdict(row) for row in rows], "notes": list(notes)})
    with atomic_path(folder / "results.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    text = f"{row.miou:.2f}" + PARTIAL * row.partial
    if row.published is None:
        return text
    difference = "" if row.difference is None else f", {signed(row.difference)}"
    return f"{text} ({row.published:.1f}{difference})"


def _escape(text: str) -> str:
    """Write a name in a cell of a Markdown table."""
    return text.replace("|", "\\|")
