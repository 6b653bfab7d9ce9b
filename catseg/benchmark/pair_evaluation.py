"""Evaluation of one model on one data set, in as many processes as are wanted."""

import datetime
import functools
import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm
from tqdm import tqdm

from catseg import __version__
from catseg.api.registry import NamedModel
from catseg.benchmark.plan import Pair
from catseg.benchmark.store import write_pair
from catseg.build import build_model
from catseg.checkpoint.sources import fetch
from catseg.data.registration import dataset_vocabulary, register_datasets
from catseg.engine.evaluate import LabelPredictor, build_test_loader
from catseg.engine.ranked_images import RankedImages, draw_images
from catseg.engine.run_facts import device_name
from catseg.errors import InputError
from catseg.evaluation.confusion import describe_classes, find_confusions, overall_metrics
from catseg.evaluation.overlapped import OverlappedEvaluator
from catseg.evaluation.sem_seg_evaluator import SemSegEvaluator
from catseg.modeling.clip.loading import find_weights
from catseg.modeling.segmenter import OpenVocabularySegmenter

WORST_IMAGES = 6
WORST_CONFUSIONS = 20


class LastModel:
    """Builds models, and keeps the last one for the data sets that follow."""

    def __init__(self) -> None:
        self._kept: tuple[NamedModel, OpenVocabularySegmenter] | None = None

    def get(self, cfg: CfgNode, model: NamedModel) -> OpenVocabularySegmenter:
        """Build a model and load its weights, unless it was the last one.

        Args:
            cfg: of the model.
            model: what is kept is known by.

        Raises:
            FileNotFoundError: if the weights are not there.
            ValueError: if they do not fit, or are not those of a whole CAT-Seg: its numbers would be of chance.
        """
        if self._kept is None or self._kept[0] != model:
            self._kept = None  # frees its memory before the next one needs it
            self._kept = (model, _build(cfg))
        return self._kept[1]


def evaluate_pair(cfg: CfgNode, pair: Pair, settings: Mapping[str, Any], folder: Path, models: LastModel) -> None:
    """Evaluate a pair and write what comes out, in each process of a run.

    Args:
        cfg: of the model, with its weights.
        pair: the model and the data set.
        settings: of `describe_settings`, to be kept with the numbers.
        folder: of the pair. It gets `scores.json`, `confusion_matrix.npz`, the worst images and, last, `pair.json`.
        models: gives the model.

    Raises:
        FileNotFoundError, RuntimeError, ValueError: if weights or data cannot be used; the message names them.
    """
    register_datasets()
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    model = models.get(cfg, pair.model)
    metadata = MetadataCatalog.get(pair.dataset)
    vocabulary = dataset_vocabulary(pair.dataset, cfg.DATASETS.TEST_CLASSES)
    model.set_vocabulary(vocabulary)
    ranked = RankedImages(worst=WORST_IMAGES)
    evaluator = OverlappedEvaluator(SemSegEvaluator(pair.dataset, output_dir=folder, watch=ranked))
    loader = build_test_loader(cfg, pair.dataset)
    start = time.perf_counter()
    pause = 0.5 if sys.stderr.isatty() else 30.0  # seconds between lines of the bar
    quiet = not comm.is_main_process()
    with tqdm(loader, desc=str(pair), unit="batch", mininterval=pause, maxinterval=pause, disable=quiet) as bar:
        results = inference_on_dataset(LabelPredictor(model), bar, evaluator)
    seconds = time.perf_counter() - start
    worst = ranked.gather()["worst"]
    if comm.is_main_process():
        names = _scored_names(vocabulary, metadata.get("scored_classes", vocabulary))
        with np.load(folder / "confusion_matrix.npz") as file:
            matrix = file["matrix"]
        write_pair(
            folder,
            {
                "settings": settings,
                "model": pair.model.name,
                "dataset": pair.dataset,
                "scores": overall_metrics(results["sem_seg"]),
                "classes": describe_classes(matrix, names),
                "confusions": find_confusions(matrix, names, WORST_CONFUSIONS),
                "worst": draw_images(folder, worst, names, prefix="worst"),
                "weights": _describe_weights(cfg),
                "seconds": seconds,
                "measured": _describe_run(cfg),
            },
        )
    comm.synchronize()


def _scored_names(vocabulary: Sequence[str], scored: Sequence[str]) -> list[str]:
    """Name the scored classes as they were looked for; where they are fewer, the last one stands for several."""
    return list(vocabulary) if len(scored) == len(vocabulary) else [*vocabulary[: len(scored) - 1], scored[-1]]


def _build(cfg: CfgNode) -> OpenVocabularySegmenter:
    model, trained = build_model(cfg, cfg.MODEL.WEIGHTS)
    if not trained:
        raise InputError(
            f"the weights {cfg.MODEL.WEIGHTS!r} hold no trained CAT-Seg, so that the numbers would be of chance: "
            "give a checkpoint, as CONFIG.yaml:WEIGHTS"
        )
    return model


def _describe_weights(cfg: CfgNode) -> dict[str, str]:
    """Name and hash the weights, or those of CLIP where a model has no others."""
    if cfg.MODEL.WEIGHTS:
        return {"name": cfg.MODEL.WEIGHTS, "sha256": _sha256(fetch(cfg.MODEL.WEIGHTS))}
    clip = find_weights(cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.WEIGHTS)
    return {"name": cfg.MODEL.CLIP.WEIGHTS, "sha256": "" if clip is None else _sha256(clip)}


@functools.cache
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe_run(cfg: CfgNode) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": device_name(cfg.MODEL.DEVICE),
        "processes": comm.get_world_size(),
        "catseg": __version__,
        "torch": torch.__version__,
    }
