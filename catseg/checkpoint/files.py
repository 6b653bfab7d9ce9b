"""Checkpoint files: found, and read without running any code that they may hold."""

import argparse
import io
import logging
import os
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from catseg.errors import InputError
from catseg.safe_pickle import MAKE_SCALAR, ArrayUnpickler

logger = logging.getLogger(__name__)

LAST, BEST = "last_checkpoint", "model_best"

# What training programs put weights under: Detectron2 and most backbones' authors, and OpenMMLab's.
_CONTAINERS = ("model", "state_dict")

# What training programs store beside tensors, and torch does not know to be plain values: options and a best score.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(code)) for code in f"?{np.typecodes['AllInteger']}{np.typecodes['AllFloat']}"},
    (MAKE_SCALAR, "numpy.core.multiarray.scalar"),
    (MAKE_SCALAR, "numpy._core.multiarray.scalar"),
]

# An environment variable, and no config key, so that no config file that came with the weights can set it.
UNSAFE_PICKLE = "CATSEG_UNSAFE_PICKLE"


class _TensorUnpickler(ArrayUnpickler):
    """Unpickles containers of arrays and tensors, and nothing that runs code."""

    allowed: ClassVar = {
        **ArrayUnpickler.allowed,
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
        ("torch.storage", "_load_from_bytes"): lambda data: torch.load(io.BytesIO(data), weights_only=True),
    }


def require_file(path: str | Path, what: str) -> Path:
    """Return `path` if a file is there.

    Args:
        path: a local file.
        what: what names it, for the error.

    Raises:
        FileNotFoundError: if it does not exist.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{what} names {path}, which is not a file: check the path, or download it first")
    return Path(path)


def find_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints that a training run wrote to a folder, by name; none if there is no such folder."""
    return sorted(path for path in folder.glob("*.pth") if not path.name.startswith("."))


def last_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint that a training run in a folder goes on from.

    Args:
        folder: OUTPUT_DIR of the run.

    Returns:
        The checkpoint that the file `last_checkpoint` names; None if the folder has neither that file nor checkpoints.

    Raises:
        FileNotFoundError: if the checkpoint was removed, or there are checkpoints but not that file.
    """
    tag = folder / LAST
    if tag.is_file():
        return require_file(folder / tag.read_text(encoding="utf-8").strip(), str(tag))
    checkpoints = find_checkpoints(folder)
    if checkpoints:
        newest = max(checkpoints, key=lambda path: (path.name != f"{BEST}.pth", path.stat().st_mtime)).name
        raise FileNotFoundError(
            f"{folder} holds checkpoints, but no file {LAST} that names the one to go on from: write the name into it "
            f"(echo {newest} > {tag}), or choose another OUTPUT_DIR"
        )
    return None


def is_whole_network(names: Iterable[str]) -> bool:
    """Tell the weights of a whole CAT-Seg, of this project or as published, from those of a backbone by their names."""
    return any(name.startswith(("clip.", "sem_seg_head.predictor.")) for name in names)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint: safetensors, a torch file, or a pickle of arrays (`.pkl`) as in Detectron2's model zoo.

    The weights are all that the file holds, or its entry `model` or `state_dict`. No code in the file is run, unless
    the environment variable CATSEG_UNSAFE_PICKLE is 1: then a torch file or pickle is read whatever it holds, and may
    do all that the user can do.

    Args:
        path: a local file.

    Returns:
        At least `model`, name to tensor, without the "module." of distributed training. Caffe2 files, whose names are
        Caffe2's, have `__author__` "Caffe2".

    Raises:
        ValueError: if the file is damaged, holds other things than tensors and plain Python values, or no weights.
    """
    try:
        loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _unpickle(path)
    except Exception as error:  # damaged files raise exceptions of many kinds
        raise InputError(_why_not(path, error)) from error
    if not isinstance(loaded, dict):
        raise InputError(f"{path} holds a {type(loaded).__name__}, expected a dict of weights")
    return _normalise(loaded, path)


def _read_safetensors(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        author = {key: value for key, value in (file.metadata() or {}).items() if key == "__author__"}
        return {"model": {name: file.get_tensor(name) for name in file.keys()}, **author}  # noqa: SIM118


def _unpickle(path: Path) -> Any:
    unsafe = os.environ.get(UNSAFE_PICKLE) == "1"
    if unsafe:
        logger.warning("%s is 1: reading %s runs whatever code it holds", UNSAFE_PICKLE, path)
    if path.suffix != ".pkl":
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=not unsafe)
    with path.open("rb") as file:
        return (pickle.Unpickler if unsafe else _TensorUnpickler)(file, encoding="latin1").load()


def _why_not(path: Path, error: Exception) -> str:
    told = re.search(
        r"(?:WeightsUnpickler error:|trusted source\.\n\n)\s*(.+?)(?: Please use|$)", str(error), re.MULTILINE
    )
    cause = told[1] if told else str(error) or type(error).__name__  # without torch's advice
    if not isinstance(error, pickle.UnpicklingError):
        return f"{path} is damaged: {cause}"
    return (
        f"{path} is damaged, or holds more than tensors and was not read because that could run code: {cause}\n"
        f"Only if you trust whoever made it with all that you can do on this machine: with {UNSAFE_PICKLE}=1 in the "
        "environment it is read all the same"
    )


def _normalise(loaded: dict[str, Any], path: Path) -> dict[str, Any]:
    container = next((key for key in _CONTAINERS if isinstance(loaded.get(key), dict)), None)
    checkpoint: dict[str, Any] = {"model": loaded}
    if container:
        checkpoint = {key: value for key, value in loaded.items() if key != container} | {"model": loaded[container]}
    if path.suffix == ".pkl":
        checkpoint.setdefault("__author__", "Caffe2")
    weights = {
        name.removeprefix("module."): torch.as_tensor(value)
        for name, value in checkpoint["model"].items()
        if isinstance(value, np.ndarray | Tensor)
    }
    if not weights:
        raise InputError(f"{path} holds no weights")
    return {**checkpoint, "model": weights}
