"""The weights within what a file holds: out of the containers of training programs, as plain tensors."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from catseg.errors import InputError

logger = logging.getLogger(__name__)

# What training programs put weights under. Where a file has several, the first in this order is read: the trained
# weights before their running average.
_CONTAINERS = (
    "model",
    "state_dict",
    "model_state_dict",
    "model_state",
    "module",
    "net",
    "network",
    "params",
    "weights",
    "model_ema",
    "ema",
    "ema_state_dict",
    "state_dict_ema",
    "params_ema",
    "teacher",
    "student",
)
# What wraps a module puts its own name among those of the module's tensors: compilation, FSDP, checkpointing.
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_DISTRIBUTED = "module"  # DistributedDataParallel, DataParallel and averaged models, at the beginning alone
_COUNTER = "n_averaged"  # of torch's averaged models
_SHOWN = 5


def unwrap(content: Any, path: Path) -> dict[str, Any]:
    """Find the weights in what a file holds.

    Args:
        content: a mapping of tensors or arrays, possibly within others, under the names that training programs use or
            as the only such mapping.
        path: of the file, for messages.

    Returns:
        `model`, name to tensor, without the prefixes of distributed training and compilation; beside it what stands
        beside the weights.

    Raises:
        ValueError: if there are no weights, several mappings that may be meant, or tensors without plain values.
    """
    content = _state_of(content)
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a dict of weights")
    trail = _locate(content, path)
    if trail is None:
        raise InputError(_no_weights(content, path))
    state, beside = content, dict(content)
    for key in trail:
        state = _state_of(state[key])
    if trail:
        del beside[trail[0]]
        _say_alternatives(content, trail, path)
    else:
        beside = {name: value for name, value in content.items() if not _is_tensor(value)}
    left = [str(name) for name, value in state.items() if not _is_tensor(value)] if trail else []
    if left:
        logger.warning("%s: beside the tensors in %s, these are left out: %s", path, ".".join(trail), shorten(left))
    return {**beside, "model": _clean(state, path)}


def shorten(names: list[str], shown: int = _SHOWN) -> str:
    """Join names to a list of which only the first ones are spelled out."""
    return ", ".join(names[:shown]) + f" and {len(names) - shown} more" * (len(names) > shown)


def _state_of(value: Any) -> Any:
    return value.state_dict() if isinstance(value, nn.Module) else value


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "biufc")


def _locate(content: Any, path: Path) -> tuple[str, ...] | None:
    """Return the keys that lead to the weights, none of them if `content` is the weights; None if there are none."""
    content = _state_of(content)
    if not isinstance(content, Mapping) or "param_groups" in content:
        return None
    for key in _CONTAINERS:
        trail = _locate(content.get(key), path)
        if trail is not None:
            return (key, *trail)
    if any(_is_tensor(value) and value.ndim for value in content.values()):
        return ()
    found = {key: trail for key, value in content.items() if (trail := _locate(value, path)) is not None}
    if len(found) > 1:
        raise InputError(
            f"{path} holds several sets of weights ({shorten([str(key) for key in found])}), none under a name that "
            "says which is meant: save the one to load by itself"
        )
    if found:
        [(key, trail)] = found.items()
        return (key, *trail)
    return () if any(_is_tensor(value) for value in content.values()) else None


def _say_alternatives(content: Mapping[str, Any], trail: tuple[str, ...], path: Path) -> None:
    """Say which of several sets of weights side by side is read."""
    for key in trail:
        others = [other for other in _CONTAINERS if other != key and _locate(content.get(other), path) is not None]
        if others:
            text = "%s holds several sets of weights: those under %s are read, those under %s are not"
            logger.warning(text, path, key, shorten(others))
        content = _state_of(content[key])


def _no_weights(content: Mapping[Any, Any], path: Path) -> str:
    optimizers = [str(key) for key, value in content.items() if isinstance(value, Mapping) and "param_groups" in value]
    if "param_groups" in content or optimizers:
        return f"{path} holds the state of an optimizer, but no weights: name the checkpoint of the model"
    names = f" (its entries are {shorten([str(key) for key in content])})" if content else ", it is empty"
    return f"{path} holds no weights{names}"


def _clean(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    cleaned: dict[str, Tensor] = {}
    for name, value in state.items():
        if not _is_tensor(value) or name == _COUNTER:
            continue
        plain = _plain_name(str(name))
        if plain in cleaned:
            raise InputError(
                f"{path} holds two tensors {plain}, one of them as {name}: remove the one that is not meant"
            )
        cleaned[plain] = _plain_tensor(value, str(name), path)
    return cleaned


def _plain_name(name: str) -> str:
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] == _DISTRIBUTED:
        del parts[0]
    return ".".join(parts)


def _plain_tensor(value: Any, name: str, path: Path) -> Tensor:
    if isinstance(value, np.ndarray):
        return torch.as_tensor(np.asarray(value, dtype=value.dtype.newbyteorder("="), order="C"))
    tensor = value.detach()
    if type(tensor) is not Tensor:
        raise InputError(
            f"{path} holds {name} as a {type(tensor).__name__}, such as one process's part of it: gather the whole "
            "model into plain tensors before saving it"
        )
    if tensor.is_meta:
        raise InputError(f"{path} holds the shape of {name} alone, without values (device meta): save the filled model")
    if tensor.is_quantized:
        raise InputError(f"{path} holds quantised weights ({name}): name the checkpoint from before quantisation")
    if tensor.layout != torch.strided:
        raise InputError(f"{path} holds {name} as a tensor of layout {tensor.layout}, expected dense ones")
    return tensor
