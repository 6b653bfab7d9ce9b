"""The page of a training or an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catseg.pages.charts import Chart
from catseg.pages.rendering import render


@dataclass(frozen=True)
class ConfusionMatrix:
    """The part of a confusion matrix that is shown.

    Attributes:
        names: of the shown classes.
        total: how many classes there are.
        cells: of each shown class, the percentages of its pixels that were predicted as each shown class and, last, as
            any other; None for a class without pixels in the ground truth.
    """

    names: Sequence[str]
    total: int
    cells: Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class DatasetReport:
    """What came out on one data set.

    Attributes:
        name: registered name.
        images: how many were evaluated.
        scores: overall metrics, in percent; those without a value are left out.
        classes: those that occur, of `catseg.evaluation.confusion.describe_classes`.
        absent: names of the classes that do not occur in the ground truth.
        confusions: the worst, of `catseg.evaluation.confusion.find_confusions`.
        matrix: the classes that are confused most; None if no pixel is wrong.
        worst: images, of `catseg.pages.scored_images.show_images`.
        best: images, likewise.
    """

    name: str
    images: int
    scores: Mapping[str, float]
    classes: Sequence[Mapping[str, Any]]
    absent: Sequence[str]
    confusions: Sequence[Mapping[str, Any]]
    matrix: ConfusionMatrix | None
    worst: Sequence[Mapping[str, Any]]
    best: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RunReport:
    """Everything that the page of a run tells.

    Attributes:
        title: of the page.
        subtitle: below the title.
        facts: of the run: weights, duration, device.
        versions: of what it ran with.
        datasets: what came out on each.
        settings: key, value and default of every setting that differs from its default.
        config: the whole config, as YAML.
        command: that made the run.
        folder: that the command was given in.
        charts: curves over the iterations.
        notes: what the reader should know first.
    """

    title: str
    subtitle: str
    facts: Mapping[str, str]
    versions: Mapping[str, str]
    datasets: Sequence[DatasetReport]
    settings: Sequence[tuple[str, str, str]]
    config: str
    command: str
    folder: str
    charts: Sequence[Chart] = ()
    notes: Sequence[str] = ()


def run_report(report: RunReport) -> str:
    """Return the page, which needs no other file."""
    return render("run_report.html", title=report.title, subtitle=report.subtitle, report=report)
