"""The one reader of weights, for whole models, backbones and CLIP."""

import argparse
import io
import json
import logging
import os
import pathlib
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import safe_open

from catseg.errors import InputError
from catseg.safe_pickle import ArrayUnpickler
from catseg.weight_files.kinds import Kind, recognise
from catseg.weight_files.torchscript import read_torchscript
from catseg.weight_files.unwrap import shorten, unwrap

logger = logging.getLogger(__name__)

# An environment variable, and no config key, so that no config file that came with the weights can set it.
UNSAFE_PICKLE = "CATSEG_UNSAFE_PICKLE"


class _Ignored(dict[Any, Any]):
    """Stands for what training programs store beside weights, and nothing here needs."""

    def __init__(self, *_: Any) -> None:
        super().__init__()


# What training programs store beside tensors, and torch does not know to be plain values: options, scores and arrays.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    *{type(np.dtype(code)) for code in f"?{np.typecodes['AllInteger']}{np.typecodes['AllFloat']}"},
    *((made, f"{module}.{name}") for (module, name), made in ArrayUnpickler.allowed.items() if "numpy" in module),
    *((pathlib.PurePosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
    *(
        (_Ignored, name)
        for name in (
            "mmengine.logging.history_buffer.HistoryBuffer",
            "builtins.getattr",  # of HistoryBuffer's methods
            "pytorch_lightning.utilities.parsing.AttributeDict",
            "lightning_fabric.utilities.data.AttributeDict",
            "lightning.fabric.utilities.data.AttributeDict",
        )
    ),
]


class _TensorUnpickler(ArrayUnpickler):
    """Unpickles containers of arrays and tensors, and nothing that runs code."""

    allowed: ClassVar = {
        **ArrayUnpickler.allowed,
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
        ("torch.storage", "_load_from_bytes"): lambda data: torch.load(io.BytesIO(data), weights_only=True),
    }


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint: safetensors, a torch file, TorchScript, a pickle of arrays, or the index of several of them.

    What a file is, its content tells, not its name. The weights are all that it holds, or what a training program's
    container in it holds, such as `model` or `state_dict`; a warning says which where there are several. No code in the
    file is run, unless the environment variable CATSEG_UNSAFE_PICKLE is 1: then a torch file or pickle is read whatever
    it holds, and may do all that the user can do.

    Args:
        path: a local file.

    Returns:
        At least `model`, name to tensor on the CPU, without what distributed training and compilation put before the
        names. Caffe2 files, whose names are Caffe2's, have `__author__` "Caffe2".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or no file of weights, holds other things than tensors and plain Python
            values, or no weights; the message says what it is and what to do.
    """
    path = Path(path)
    kind = recognise(path)
    checkpoint = unwrap(_read_shards(path) if kind is Kind.SHARDS else _read(path, kind), path)
    if kind is Kind.PICKLE and not any("." in name for name in checkpoint["model"]):
        checkpoint.setdefault("__author__", "Caffe2")
    return checkpoint


def _read(path: Path, kind: Kind) -> Any:
    try:
        content = _READERS[kind](path)
    except Exception as error:  # damaged files raise exceptions of many kinds
        raise InputError(_why_not(path, kind, error)) from error
    if kind is Kind.TORCHSCRIPT and not content:
        raise InputError(f"{path} is TorchScript without weights: name a checkpoint")
    return content


def _read_safetensors(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        author = {key: value for key, value in (file.metadata() or {}).items() if key == "__author__"}
        return {"model": {name: file.get_tensor(name) for name in file.keys()}, **author}  # noqa: SIM118


def _read_torch(path: Path) -> Any:
    # By an open file, since torch goes by the suffix of a path.
    with torch.serialization.safe_globals(_HARMLESS), path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=not _unsafe(path))


def _read_pickle(path: Path) -> Any:
    with path.open("rb") as file:
        return (pickle.Unpickler if _unsafe(path) else _TensorUnpickler)(file, encoding="latin1").load()


_READERS: dict[Kind, Callable[[Path], Any]] = {
    Kind.SAFETENSORS: _read_safetensors,
    Kind.TORCH: _read_torch,
    Kind.LEGACY_TORCH: _read_torch,
    Kind.TORCHSCRIPT: read_torchscript,
    Kind.PICKLE: _read_pickle,
}


def _read_shards(index: Path) -> dict[str, Any]:
    """Read the files beside an index, as Hugging Face's programs write them, into one mapping."""
    names = sorted(set(json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"].values()))
    weights: dict[str, Any] = {}
    for name in names:
        file = index.with_name(Path(str(name)).name)
        if not file.is_file():
            raise InputError(f"{index} lists {len(names)} files, of which {file} is not there: get all of them")
        weights |= read_checkpoint(file)["model"]
    return weights


def _unsafe(path: Path) -> bool:
    unsafe = os.environ.get(UNSAFE_PICKLE) == "1"
    if unsafe:
        logger.warning("%s is 1: reading %s runs whatever code it holds", UNSAFE_PICKLE, path)
    return unsafe


def _why_not(path: Path, kind: Kind, error: Exception) -> str:
    """Say in one line why a file could not be read, and what to do."""
    refused = _refused_classes(path, kind, error) if isinstance(error, pickle.UnpicklingError) else []
    if any(name.startswith("torch.distributed.") for name in refused):
        return (
            f"{path} holds one process's part of a model that was spread over several ({shorten(refused)}): gather the "
            "whole state_dict() before saving it"
        )
    if refused:
        return (
            f"{path} holds objects beside tensors ({shorten(refused)}) and was not read because that could run code: "
            "save the state_dict() by itself. Only if you trust whoever made the file with all that you can do on this "
            f"machine: with {UNSAFE_PICKLE}=1 in the environment it is read all the same"
        )
    told = re.search(
        r"(?:WeightsUnpickler error:|trusted source\.)\s*(\S.*?)(?: Please use|$)", str(error), re.MULTILINE
    )
    cause = " ".join((told[1] if told else str(error) or type(error).__name__).split())
    if isinstance(error, ModuleNotFoundError):  # CATSEG_UNSAFE_PICKLE is 1
        return f"{path} holds objects whose code is not installed here: {cause}"
    return f"{path} is damaged ({kind.value}, of which was told: {cause}): get the file again"


def _refused_classes(path: Path, kind: Kind, error: Exception) -> list[str]:
    """Name what a pickle asks for and is not given."""
    if kind is Kind.TORCH:
        with torch.serialization.safe_globals(_HARMLESS), path.open("rb") as file:
            return torch.serialization.get_unsafe_globals_in_checkpoint(file)
    asked = re.search(r"GLOBAL (\S+)|^(\S+) is more than data", str(error))  # the first of them
    return [asked[1] or asked[2]] if asked else []
