"""Evaluation of a model on the test sets of a config, and the report of it."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, MapDataset, MetadataCatalog
from detectron2.data.build import trivial_batch_collator
from detectron2.data.samplers import InferenceSampler
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.utils import comm
from tabulate import tabulate
from torch import nn
from torch.utils.data import DataLoader

from catseg.atomic import atomic_path, write_json
from catseg.config_checks import check_at_least
from catseg.data.checks import check_datasets, scored_classes
from catseg.data.dataset_mapper import SemSegDatasetMapper
from catseg.data.records import dataset_records
from catseg.data.registration import dataset_vocabulary
from catseg.engine.ranked_images import RankedImages
from catseg.engine.report import SHOWN_IMAGES, save_examples, write_evaluation_report
from catseg.errors import InputError
from catseg.evaluation.confusion import overall_metrics, scores
from catseg.evaluation.overlapped import OverlappedEvaluator
from catseg.evaluation.sem_seg_evaluator import SemSegEvaluator, Watch
from catseg.modeling.segmenter import OpenVocabularySegmenter
from catseg.visualization import overlay

logger = logging.getLogger(__name__)

PREDICTIONS = ("", "labels", "overlays", "both")  # of TEST.SAVE_PREDICTIONS

Results = dict[str, dict[str, dict[str, float]]]  # of each dataset, of each task: metric -> value


class LabelPredictor(nn.Module):
    """Makes a model return label maps when called, instead of full-size scores of every class.

    Args:
        model: what to ask for labels.
    """

    def __init__(self, model: OpenVocabularySegmenter) -> None:
        super().__init__()
        self.model = model
        self.training = model.training  # what Detectron2 restores after inference

    def forward(self, batched_inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, torch.Tensor]]:
        """Return `model.predict_labels(batched_inputs)`."""
        return self.model.predict_labels(batched_inputs)


def check_evaluation(cfg: CfgNode) -> None:
    """Check how a config evaluates, without looking at the data.

    Raises:
        ValueError: if TEST.IMS_PER_BATCH, TEST.SAVE_PREDICTIONS or DATALOADER.NUM_WORKERS cannot be used.
    """
    check_at_least(0, {"DATALOADER.NUM_WORKERS": cfg.DATALOADER.NUM_WORKERS})
    check_at_least(1, {"TEST.IMS_PER_BATCH": cfg.TEST.IMS_PER_BATCH})
    if cfg.TEST.SAVE_PREDICTIONS not in PREDICTIONS:
        raise InputError(f"TEST.SAVE_PREDICTIONS is {cfg.TEST.SAVE_PREDICTIONS!r}, expected one of {PREDICTIONS}")


def check_test_sets(cfg: CfgNode) -> None:
    """Check the data sets of DATASETS.TEST, which must be registered.

    Raises:
        FileNotFoundError: if files of theirs do not exist.
        ValueError: if they cannot be used.
    """
    check_datasets(cfg.DATASETS.TEST, cfg.DATASETS.TEST_CLASSES)


def check_best_metric(cfg: CfgNode) -> None:
    """Look TEST.BEST_METRIC up in the scores of made-up predictions, so that a wrong name is not found after hours.

    Raises:
        ValueError: if evaluation on DATASETS.TEST gives no such metric.
    """
    results: Results = {}
    for name in cfg.DATASETS.TEST:
        classes = scored_classes(name)
        made_up = np.eye(len(classes), dtype=np.int64)
        results[name] = {"sem_seg": scores(made_up, classes, MetadataCatalog.get(name).get("score_groups"))}
    if results:
        find_metric(results, cfg.TEST.BEST_METRIC)


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Build the loader of a test set: TEST.IMS_PER_BATCH images per process and batch.

    Detectron2's own loads one at a time. For a GPU they lie in pinned memory, so that copying them does not wait.
    """
    records = DatasetFromList(dataset_records([dataset_name]), copy=False)
    return DataLoader(
        MapDataset(records, SemSegDatasetMapper(cfg, is_train=False)),
        batch_size=cfg.TEST.IMS_PER_BATCH,
        sampler=InferenceSampler(len(records)),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=trivial_batch_collator,
        pin_memory=cfg.MODEL.DEVICE.startswith("cuda"),
    )


def build_evaluator(cfg: CfgNode, dataset_name: str, watch: Watch | None = None) -> DatasetEvaluator:
    """Build the evaluator of a test set, which scores an image while the network works on the next one.

    It writes to `evaluation/<dataset>` in OUTPUT_DIR: the scores, the confusion matrix and, if TEST.SAVE_PREDICTIONS
    asks for them, label maps and overlays.

    Args:
        cfg: read are OUTPUT_DIR and TEST.SAVE_PREDICTIONS.
        dataset_name: a registered data set.
        watch: called for each image, as `SemSegEvaluator` says.
    """
    wanted = cfg.TEST.SAVE_PREDICTIONS
    return OverlappedEvaluator(
        SemSegEvaluator(
            dataset_name,
            output_dir=_folder(cfg, dataset_name),
            save_labels=wanted in ("labels", "both"),
            draw=overlay if wanted in ("overlays", "both") else None,
            watch=watch,
        )
    )


def evaluate(cfg: CfgNode, model: OpenVocabularySegmenter, *, weights: str) -> Results:
    """Evaluate as `evaluate_datasets` does, and write `eval_report.html` to OUTPUT_DIR as well."""
    start = time.perf_counter()
    results = evaluate_datasets(cfg, model, weights=weights)
    if results and comm.is_main_process():
        write_evaluation_report(cfg, weights=weights, seconds=time.perf_counter() - start)
    return results


def evaluate_datasets(cfg: CfgNode, model: OpenVocabularySegmenter, *, weights: str) -> Results:
    """Evaluate on every dataset of DATASETS.TEST, with its own class names or those of DATASETS.TEST_CLASSES.

    The main process writes `results.json` and `results.md` to OUTPUT_DIR.

    Args:
        cfg: read are DATASETS.TEST and TEST_CLASSES, OUTPUT_DIR and what the loader and evaluator take.
        model: not wrapped for distributed training; its vocabulary is replaced.
        weights: what the report calls the weights.

    Returns:
        The results in the main process; in the others, empty ones per dataset.
    """
    check_evaluation(cfg)
    results: Results = {}
    for name in cfg.DATASETS.TEST:
        model.set_vocabulary(dataset_vocabulary(name, cfg.DATASETS.TEST_CLASSES))
        ranked = RankedImages(worst=SHOWN_IMAGES, best=SHOWN_IMAGES)
        evaluator = build_evaluator(cfg, name, ranked)
        results[name] = inference_on_dataset(LabelPredictor(model), build_test_loader(cfg, name), evaluator)
        images = ranked.gather()
        if comm.is_main_process():
            save_examples(_folder(cfg, name), images, scored_classes(name))
    if results and comm.is_main_process():
        table = results_table(results)
        logger.info("Results, %s:\n%s", weights, table)
        write_results(Path(cfg.OUTPUT_DIR), results, table, weights=weights)
    comm.synchronize()
    return results


def find_metric(results: Results, name: str) -> float:
    """Look up a metric.

    Args:
        results: of `evaluate`.
        name: `<dataset>/<task>/<metric>`, or `<task>/<metric>` for the first dataset.

    Raises:
        ValueError: if there is no such metric.
    """
    known = {
        f"{dataset}/{task}/{metric}": value
        for dataset, tasks in results.items()
        for task, metrics in tasks.items()
        for metric, value in metrics.items()
    }
    full_name = name if name in known else f"{next(iter(results))}/{name}"
    if full_name not in known:
        overall = sorted(metric for metric in known if overall_metrics({metric.rsplit("/", 1)[-1]: 0.0}))
        raise InputError(f"TEST.BEST_METRIC is {name!r}, but evaluation gave only {', '.join(overall)}")
    return known[full_name]


def results_table(results: Results) -> str:
    """Lay out the overall metrics as a Markdown table, a row per dataset."""
    rows = [
        {"dataset": dataset, **{name: f"{value:.2f}" for name, value in overall_metrics(metrics).items()}}
        for dataset, tasks in results.items()
        for metrics in tasks.values()
    ]
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)


def write_results(folder: Path, results: Results, table: str, *, weights: str) -> None:
    """Write `results.json`, where a metric that has no value is null, and `results.md`."""
    write_json(folder / "results.json", {"weights": weights, "results": results})
    with atomic_path(folder / "results.md") as path:
        path.write_text(f"Weights: {weights}\n\n{table}\n", encoding="utf-8")


def _folder(cfg: CfgNode, dataset_name: str) -> Path:
    return Path(cfg.OUTPUT_DIR) / "evaluation" / dataset_name
