"""The optimizer: what trains at which rate, what decays, and how gradients are clipped."""

from collections.abc import Iterable
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import (
    _generate_optimizer_class_with_gradient_clipping,
    maybe_add_gradient_clipping,
    reduce_param_groups,
)
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

NORM_TYPES = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
# Position tables that are bare parameters, so that their module's type says nothing.
POSITION_TABLES = ("relative_position_bias_table", "absolute_pos_embed")


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    lr_multipliers: dict[str, float],
    weight_decay: float,
    weight_decay_norm: float,
    weight_decay_embed: float,
) -> list[dict[str, Any]]:
    """Sort a model's trained parameters into groups of equal learning rate and weight decay.

    Biases decay like weights, as in the authors' recipe.

    Args:
        model: its parameters that require no gradient are left out; a shared one is listed once.
        lr: learning rate of the modules that `lr_multipliers` does not name.
        lr_multipliers: for the name of a child of `model`, its learning rate over `lr`.
        weight_decay: of all parameters but the following.
        weight_decay_norm: of normalisation layers.
        weight_decay_embed: of embeddings and position tables.

    Returns:
        Groups `{"params": [...], "lr": ..., "weight_decay": ...}` for a torch optimizer.

    Raises:
        ValueError: if nothing in `model` requires a gradient.
    """
    items: list[dict[str, Any]] = []
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        multiplier = lr_multipliers.get(module_name.split(".", 1)[0], 1.0)
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            decay = weight_decay
            if isinstance(module, NORM_TYPES):
                decay = weight_decay_norm
            elif isinstance(module, nn.Embedding) or name in POSITION_TABLES:
                decay = weight_decay_embed
            items.append({"params": [parameter], "lr": lr * multiplier, "weight_decay": decay})
    if not items:
        raise ValueError("nothing to train: no parameter of the model requires a gradient")
    return reduce_param_groups(items)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer that `cfg.SOLVER` describes, which clips gradients itself when it steps.

    Args:
        cfg: read are SOLVER.OPTIMIZER, the learning rates, the weight decays and SOLVER.CLIP_GRADIENTS, whose
            CLIP_TYPE may be Detectron2's "value" and "norm" (each parameter on its own) or "full_model" (the norm over
            all of them, as published).
        model: its parameters below `backbone` and `clip` have learning rates of their own.

    Raises:
        ValueError: if SOLVER.OPTIMIZER is unknown or the model has nothing to train.
    """
    solver = cfg.SOLVER
    groups = parameter_groups(
        model,
        lr=solver.BASE_LR,
        lr_multipliers={"backbone": solver.BACKBONE_MULTIPLIER, "clip": solver.CLIP_MULTIPLIER},
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        weight_decay_embed=solver.WEIGHT_DECAY_EMBED,
    )
    if solver.OPTIMIZER == "ADAMW":
        return _with_clipping(cfg, torch.optim.AdamW)(groups, lr=solver.BASE_LR)
    if solver.OPTIMIZER == "SGD":
        return _with_clipping(cfg, torch.optim.SGD)(groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM)
    raise ValueError(f"SOLVER.OPTIMIZER is {solver.OPTIMIZER!r}, expected 'ADAMW' or 'SGD'")


def _with_clipping(cfg: CfgNode, optimizer: type[torch.optim.Optimizer]) -> Any:
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    if not clipping.ENABLED or clipping.CLIP_TYPE != "full_model":
        return maybe_add_gradient_clipping(cfg, optimizer)

    def clip(parameters: Iterable[torch.Tensor]) -> None:
        norm = nn.utils.clip_grad_norm_(parameters, clipping.CLIP_VALUE, clipping.NORM_TYPE)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the norm of the gradients is {norm.item()}")

    return _generate_optimizer_class_with_gradient_clipping(optimizer, global_clipper=clip)
