"""Running statistics of batch norms: kept where nothing trains, and updated once per step."""

from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn


def running_statistics(module: nn.Module) -> dict[str, Tensor]:
    """Return the buffers of a norm that averages over batches, by name; empty for any other module."""
    buffers = dict(module.named_buffers(recurse=False))
    return buffers if any(name.startswith("running_") for name in buffers) else {}


class FrozenStatistics(nn.Module):
    """A module in whose frozen parts batch norms keep their statistics in training, as everything there stays as it is.

    A part is frozen if it has parameters and none of them trains. Dropout and stochastic depth act in it all the same:
    so they do in the authors' training, in which a frozen backbone is in training mode.
    """

    def train(self, mode: bool = True) -> Self:
        """Set training mode, but not of frozen batch norms."""
        super().train(mode)
        for norm in _frozen_norms(self):
            norm.eval()
        return self


def _frozen_norms(module: nn.Module) -> Iterator[nn.Module]:
    parameters = list(module.parameters())
    if any(parameter.requires_grad for parameter in parameters):
        for child in module.children():
            yield from _frozen_norms(child)
    elif parameters:
        yield from (part for part in module.modules() if running_statistics(part))


def update_statistics_once(model: nn.Module, *_inputs: Any) -> None:
    """Let the batch norms of a model update their statistics in its forward pass alone.

    Activation checkpointing, whoever does it, computes parts of that again in the backward pass, which would count each
    batch twice. This is a forward pre-hook, and not called once, because norms may be replaced (by `SyncBatchNorm`).
    """
    for module in model.modules():
        if running_statistics(module) and _set_aside not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(_set_aside)
            module.register_forward_hook(_put_back, always_call=True)  # recomputing may stop inside the norm


def _set_aside(module: nn.Module, _inputs: Any) -> None:
    """In a backward pass, give the norm copies of its statistics to update."""
    if torch._C._current_graph_task_id() == -1:
        return
    kept = running_statistics(module)
    for name, buffer in kept.items():
        setattr(module, name, buffer.clone())
    module.__dict__["_kept_statistics"] = kept


def _put_back(module: nn.Module, _inputs: Any, _output: Any) -> None:
    for name, buffer in module.__dict__.pop("_kept_statistics", {}).items():
        setattr(module, name, buffer)
