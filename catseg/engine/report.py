"""The HTML reports of a training and of an evaluation, made from what the run left in OUTPUT_DIR."""

import datetime
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import HookBase

from catseg import __version__
from catseg.atomic import write_json
from catseg.checkpoint.files import BEST
from catseg.config import add_catseg_config
from catseg.config_values import flat
from catseg.data.own import made_splits
from catseg.engine.ranked_images import ScoredImage, draw_images
from catseg.engine.run_facts import command_line, describe_device, versions
from catseg.evaluation.confusion import describe_classes, find_confusions, most_confused, overall_metrics
from catseg.pages import write_page
from catseg.pages.charts import Chart, curves
from catseg.pages.run_report import ConfusionMatrix, DatasetReport, RunReport, run_report
from catseg.pages.scored_images import show_images

TRAINING_REPORT, EVALUATION_REPORT = "report.html", "eval_report.html"
SHOWN_IMAGES = 6  # of the worst, and as many of the best
_CONFUSIONS = 30
_MATRIX_CLASSES = 20
_EXAMPLES = "examples"

logger = logging.getLogger(__name__)


class ReportHook(HookBase):
    """Writes the report of a training that came to its end; for the main process, after all other hooks that write.

    Args:
        cfg: of the run.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self._cfg = cfg

    def before_train(self) -> None:
        """Note when training begins."""
        self._start = time.perf_counter()

    def after_train(self) -> None:
        """Write the report, unless training was broken off."""
        if self.trainer.iter >= self.trainer.max_iter:
            steps = (self.trainer.start_iter, self.trainer.max_iter)
            write_training_report(self._cfg, steps=steps, seconds=time.perf_counter() - self._start)


def write_training_report(cfg: CfgNode, *, steps: tuple[int, int], seconds: float) -> None:
    """Write `report.html` to OUTPUT_DIR. If that fails, a warning says why.

    Args:
        cfg: of the run.
        steps: the first step of this process, and the number of all steps.
        seconds: that they took.
    """
    folder = Path(cfg.OUTPUT_DIR)
    with _warning_if_it_fails(folder / TRAINING_REPORT):
        first, last = steps
        facts = {
            "duration": _duration(seconds) + f", from iteration {first} to {last} after a resume" * bool(first),
            "iterations": f"{last} of {cfg.SOLVER.IMS_PER_BATCH} images",
            "trained on": ", ".join(cfg.DATASETS.TRAIN),
            "started from": cfg.MODEL.WEIGHTS or "CLIP's and the backbone's own weights",
        }
        if made := made_splits(cfg.DATASETS.TEST):
            count = sum(map(len, made.values()))
            facts["validation on"] = f"{count} of the images for training, which were not trained on"
        if cfg.DATASETS.TEST and (folder / f"{BEST}.json").is_file():
            best = json.loads((folder / f"{BEST}.json").read_text(encoding="utf-8"))
            facts["best"] = (
                f"{best['metric']} {best['value']:.2f}, after {best['iteration'] + 1} iterations: {BEST}.pth"
            )
        charts = _charts(read_metrics(folder / "metrics.json"))
        _write(cfg, TRAINING_REPORT, "Training", facts, charts)


def write_evaluation_report(cfg: CfgNode, *, weights: str, seconds: float) -> None:
    """Write `eval_report.html` to OUTPUT_DIR. If that fails, a warning says why.

    Args:
        cfg: of the run.
        weights: what the weights are called.
        seconds: that the evaluation took.
    """
    with _warning_if_it_fails(Path(cfg.OUTPUT_DIR) / EVALUATION_REPORT):
        _write(cfg, EVALUATION_REPORT, "Evaluation", {"weights": weights, "duration": _duration(seconds)}, [])


def save_examples(folder: Path, images: Mapping[str, list[ScoredImage]], names: Sequence[str]) -> None:
    """Draw the images that a report shows, and describe them in `examples.json`. If that fails, a warning says why.

    Args:
        folder: of the evaluation of a data set.
        images: of `RankedImages.gather`.
        names: of the classes that scores tell apart.
    """
    described = folder / f"{_EXAMPLES}.json"
    with _warning_if_it_fails(described):
        described.unlink(missing_ok=True)  # of an evaluation before
        drawn = {kind: draw_images(folder / _EXAMPLES, ranked, names, prefix=kind) for kind, ranked in images.items()}
        write_json(described, drawn)


def read_metrics(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Read the scalars that Detectron2 wrote during training.

    Args:
        path: `metrics.json`, one JSON object a line. A line that was cut short is left out, and so are values that are
            no numbers. Where a run was taken back to an earlier iteration, what it had later before is forgotten.

    Returns:
        Iteration and value, by the name of the scalar; nothing if there is no file.
    """
    series: dict[str, list[tuple[float, float]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        step = record.pop("iteration")
        for name, value in record.items():
            points = series.setdefault(name, [])
            while points and points[-1][0] >= step:
                points.pop()
            if isinstance(value, int | float) and math.isfinite(value):
                points.append((step, value))
    return series


def _write(cfg: CfgNode, file: str, kind: str, facts: dict[str, str], charts: list[Chart]) -> None:
    folder = Path(cfg.OUTPUT_DIR)
    now = datetime.datetime.now(datetime.UTC)
    report = RunReport(
        title=f"{kind}: {folder.resolve().name}",
        subtitle=f"CAT-Seg · catseg {__version__} · {now:%Y-%m-%d %H:%M} UTC",
        facts={**facts, "device": describe_device(cfg.MODEL.DEVICE), "folder": str(folder.resolve())},
        versions=versions(),
        datasets=[_dataset(folder / "evaluation" / name) for name in cfg.DATASETS.TEST],
        settings=_changed_settings(cfg),
        config=cfg.dump(),
        command=command_line(),
        folder=str(Path.cwd()),
        charts=charts,
        notes=[] if cfg.DATASETS.TEST else ["Nothing was evaluated: DATASETS.TEST is empty."],
    )
    write_page(folder / file, run_report(report))
    logger.info("Report: %s", folder / file)


def _dataset(folder: Path) -> DatasetReport:
    record = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    with np.load(folder / "confusion_matrix.npz") as file:
        matrix, names = file["matrix"], file["classes"].tolist()
    described = folder / f"{_EXAMPLES}.json"
    examples = json.loads(described.read_text(encoding="utf-8")) if described.is_file() else {}
    images = {kind: show_images(examples.get(kind, []), folder / _EXAMPLES) for kind in ("worst", "best")}
    occurs = matrix.sum(axis=1) > 0
    return DatasetReport(
        name=record["dataset"],
        images=record["images"],
        scores={name: value for name, value in overall_metrics(record["scores"]).items() if value is not None},
        classes=describe_classes(matrix, names),
        absent=[name for name, there in zip(names, occurs, strict=True) if not there],
        confusions=find_confusions(matrix, names, _CONFUSIONS),
        matrix=_confusion_matrix(matrix, names),
        **images,
    )


def _confusion_matrix(matrix: np.ndarray, names: list[str]) -> ConfusionMatrix | None:
    shown = most_confused(matrix, _MATRIX_CLASSES)
    if not shown:
        return None
    cells = []
    for index in shown:
        row, total = matrix[index], int(matrix[index].sum())
        pixels = [*(int(row[other]) for other in shown), total - int(row[shown].sum())]
        cells.append([100 * count / total if total else None for count in pixels])
    return ConfusionMatrix([names[index] for index in shown], len(names), cells)


def _charts(metrics: Mapping[str, list[tuple[float, float]]]) -> list[Chart]:
    parts = {name: points for name, points in metrics.items() if name.startswith("loss")}
    losses = {name: points for name, points in metrics.items() if name == "total_loss"} | parts
    if len(parts) == 1:
        losses.pop("total_loss", None)  # the same
    end = "sem_seg/mIoU"
    scores = {name.removesuffix(end).rstrip("/") or "mIoU": p for name, p in metrics.items() if name.endswith(end)}
    rates = {"lr": metrics.get("lr", [])}
    last = max((points[-1][0] for points in metrics.values() if points), default=0) or 1
    charts = [
        curves("Loss", losses, last=last, from_zero=True),
        curves("mIoU, %", scores, last=last),
        curves("Learning rate", rates, last=last, from_zero=True),
    ]
    return [chart for chart in charts if chart is not None]


def _changed_settings(cfg: CfgNode) -> list[tuple[str, str, str]]:
    defaults = get_cfg()
    add_catseg_config(defaults)
    before = dict(flat(defaults))
    return [
        (key, _text(value), _text(before[key])) for key, value in flat(cfg) if key in before and before[key] != value
    ]


def _text(value: Any) -> str:
    return repr(value) if value == "" else str(value)


def _duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


@contextmanager
def _warning_if_it_fails(path: Path) -> Iterator[None]:
    """Log why `path` could not be made: what it is made of is complete, and nothing that follows needs it."""
    try:
        yield
    except Exception as error:
        logger.warning(
            "%s could not be written; nothing else is lost: %s: %s", path, type(error).__name__, error, exc_info=True
        )
