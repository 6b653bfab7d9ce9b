"""`catseg.load`."""

import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from catseg.api.model import CATSegModel, Device
from catseg.api.registry import find_model
from catseg.build import build_model
from catseg.config import load_config
from catseg.data.registration import dataset_vocabulary, register_datasets
from catseg.modeling.execution import dtype_name
from catseg.vocabulary import Vocabulary, load_vocabulary

logger = logging.getLogger(__name__)


def load(
    model: str | os.PathLike[str],
    *,
    device: Device | None = None,
    dtype: str | torch.dtype | None = None,
    compile: bool = False,
    options: Sequence[Any] = (),
) -> CATSegModel:
    """Load a model that segments images into any classes.

    Args:
        model: a published name such as "v2-large" (`catseg.models()` lists them), "shapes", "CONFIG.yaml:WEIGHTS", the
            folder of a training run or of `save_pretrained`, "hf://OWNER/REPO", or, for CLIP alone,
            "training-free:CLIP/WEIGHTS", such as "training-free:ViT-B-16-quickgelu/openai".
        device: as torch names it; by default a GPU where there is one.
        dtype: computing type, "float32", "bfloat16" or "float16"; by default that of the config.
        compile: whether to compile the repeated blocks, each when it is first used.
        options: config overrides as a flat list: `["TEST.SLIDING_WINDOW", "False"]`.

    Returns:
        The model. Published weights are downloaded once, checked and kept.

    Raises:
        FileNotFoundError: if config or weights do not exist or cannot be downloaded.
        ValueError: if the name, config, weights, device or options cannot be used.
    """
    found = find_model(str(model))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    overrides: list[Any] = ["MODEL.DEVICE", str(device), *found.options]
    if dtype is not None:
        overrides += ["TEST.DTYPE", dtype_name(dtype)]
    if compile:
        overrides += ["MODEL.COMPILE", "True"]
    config = load_config(found.config_file, [*overrides, *options])
    module, trained = build_model(config, config.MODEL.WEIGHTS)
    if not trained:
        logger.warning("%s holds no trained CAT-Seg: its results are random", model)
    return CATSegModel(
        module,
        config,
        name=found.name,
        classes=load_vocabulary(config.DATASETS.TEST_CLASSES) if config.DATASETS.TEST_CLASSES else None,
        context=training_classes(config),
        trained=trained,
        reload=partial(load, str(model), device=str(device), dtype=dtype, compile=compile, options=tuple(options)),
    )


def training_classes(config: CfgNode) -> Vocabulary | None:
    """Return the classes that a model is trained with, or has as its context; None if they are not known here."""
    recorded = config.DATASETS.CONTEXT_CLASSES or config.DATASETS.TRAIN_CLASSES
    if recorded:
        return load_vocabulary(recorded)
    register_datasets()
    if not config.DATASETS.TRAIN or config.DATASETS.TRAIN[0] not in DatasetCatalog.list():
        return None
    return dataset_vocabulary(config.DATASETS.TRAIN[0])
