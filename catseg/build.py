"""From a config and weights to a model: the one place where this project builds it."""

import difflib
import logging
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
from detectron2.modeling import build_model as build_meta_architecture
from detectron2.utils.logger import log_first_n

from catseg.checkpoint.checkpointer import Checkpointer, without_spare_weights
from catseg.errors import InputError
from catseg.modeling.execution import check_compiler
from catseg.modeling.meta_arch import CATSeg
from catseg.modeling.segmenter import OpenVocabularySegmenter

logger = logging.getLogger(__name__)


def build_model(cfg: CfgNode, weights: str) -> tuple[OpenVocabularySegmenter, bool]:
    """Build the model of a config and load its weights.

    Args:
        cfg: is left as it is. MODEL.WEIGHTS is not read; TEST.AUG is part of the model.
        weights: what `Checkpointer.load` takes; "" for random weights, but for those of MODEL.CLIP.WEIGHTS.

    Returns:
        The model on MODEL.DEVICE, in training mode as Detectron2 builds it, and whether all of its weights are trained
        ones: those that were loaded, or those that it was built with, where it has no part of its own to train.

    Raises:
        FileNotFoundError: if the weights are not there.
        ValueError: if the config or the weights cannot be used.
        RuntimeError: as `build_network`.
    """
    model = build_network(without_spare_weights(cfg, weights))
    checkpointer = Checkpointer(model)
    checkpointer.load(weights, checkpointables=[])
    return model, checkpointer.complete or model.pretrained


def build_network(cfg: CfgNode) -> OpenVocabularySegmenter:
    """Build the model of a config with its initial weights, for training, whose checkpointer loads them with the rest.

    The number of parameters of each part, and how many of them are trained, go to the log.

    Raises:
        FileNotFoundError: if MODEL.CLIP.WEIGHTS are not there.
        ValueError: if the config or MODEL.CLIP.WEIGHTS cannot be used.
        RuntimeError: if MODEL.CLIP.WEIGHTS cannot be downloaded, or there is no compiler for MODEL.COMPILE.
    """
    check_names(cfg)
    device = usable_device(cfg.MODEL.DEVICE)
    if device != cfg.MODEL.DEVICE:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.DEVICE = device
    if cfg.MODEL.COMPILE:
        check_compiler(device)
    model = build_meta_architecture(cfg)
    for name, part in model.named_children():
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in part.parameters()]
        total, trained = sum(size for size, _ in sizes), sum(size for size, trains in sizes if trains)
        logger.info("%s: %.2f million parameters, %.2f of them trained", name, total / 1e6, trained / 1e6)
    return model


def check_names(cfg: CfgNode) -> None:
    """Check that Detectron2's registries hold the parts that a config names.

    Raises:
        ValueError: if a part does not exist, or MODEL.META_ARCHITECTURE is none of this project's.
    """
    parts = [
        ("MODEL.META_ARCHITECTURE", META_ARCH_REGISTRY, cfg.MODEL.META_ARCHITECTURE),
        ("MODEL.SEM_SEG_HEAD.NAME", SEM_SEG_HEADS_REGISTRY, cfg.MODEL.SEM_SEG_HEAD.NAME),
    ]
    if cfg.MODEL.BACKBONE.NAME:
        parts.append(("MODEL.BACKBONE.NAME", BACKBONE_REGISTRY, cfg.MODEL.BACKBONE.NAME))
    for key, registry, name in parts:
        if name not in registry:
            raise InputError(f"{key} is {name!r}, which does not exist; {_near(name, registry)}")
    if SEM_SEG_HEADS_REGISTRY.get(cfg.MODEL.SEM_SEG_HEAD.NAME).__module__.startswith("detectron2."):
        raise InputError(f"MODEL.SEM_SEG_HEAD.NAME is {cfg.MODEL.SEM_SEG_HEAD.NAME!r}, which takes no class names")
    meta_architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    if isinstance(meta_architecture, type) and not issubclass(meta_architecture, OpenVocabularySegmenter):
        raise InputError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}, expected CATSeg, TrainingFreeSegmenter or a "
            "subclass"
        )


def check_trains(cfg: CfgNode) -> None:
    """Check that a config, which `check_names` has seen, is of a model that can be trained.

    Raises:
        ValueError: if it is not.
    """
    if not issubclass(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), CATSeg):
        raise InputError(
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} has nothing to train: evaluate it by --eval-only, "
            "or train CATSeg"
        )


def usable_device(name: str) -> str:
    """Return the torch device to run on: the one that is named, or the CPU, with a warning, if torch sees no GPU.

    Raises:
        ValueError: if there is no such device.
    """
    try:
        device = torch.device(name)
        if device.type == "cuda" and not torch.cuda.is_available():
            log_first_n(
                logging.WARNING,
                f"MODEL.DEVICE is {name}, but torch sees no GPU: running on the CPU, which is far slower "
                "(MODEL.DEVICE cpu asks for it, and for no warning)",
                name=__name__,
                key="message",
            )
            return "cpu"
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise InputError(f"MODEL.DEVICE is {name}, but torch sees {torch.cuda.device_count()} GPUs here")
        if device.type not in ("cuda", "cpu"):
            torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"MODEL.DEVICE is {name!r}, which cannot be used here: {reason}") from error
    return name


def _near(name: str, registry: Any) -> str:
    known = sorted(key for key, _ in registry)
    lower = {key.lower(): key for key in known}
    close = [lower[key] for key in difflib.get_close_matches(name.lower(), lower, n=3)]
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"
