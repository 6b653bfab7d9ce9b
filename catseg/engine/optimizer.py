"""The optimizer: what trains at which rate, what decays, and how gradients are clipped."""

import logging
from collections.abc import Collection, Iterable
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

from catseg.config_checks import check_at_least, check_share
from catseg.errors import InputError

logger = logging.getLogger(__name__)

OPTIMIZERS = ("ADAMW", "SGD")
RATES = (
    "BASE_LR",
    "BACKBONE_MULTIPLIER",
    "CLIP_MULTIPLIER",
    "WEIGHT_DECAY",
    "WEIGHT_DECAY_NORM",
    "WEIGHT_DECAY_EMBED",
)
CLIP_TYPES = ("value", "norm", "full_model")
NORM_TYPES = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm, nn.RMSNorm)


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    lr_multipliers: dict[str, float],
    weight_decay: float,
    weight_decay_norm: float,
    weight_decay_embed: float,
    embeddings: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Sort a model's trained parameters into groups of equal learning rate and weight decay.

    Biases decay like weights, as in CAT-Seg's recipe, and so do CLIP's position table and class embedding, which are
    bare parameters there.

    Args:
        model: its parameters that require no gradient are left out; a shared one is listed once.
        lr: learning rate of the modules that `lr_multipliers` does not name.
        lr_multipliers: for the name of a child of `model`, its learning rate over `lr`.
        weight_decay: of all parameters but the following.
        weight_decay_norm: of normalisation layers.
        weight_decay_embed: of `nn.Embedding` and of `embeddings`.
        embeddings: names of further parameters that count as such.

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
            if _is_norm(module):
                decay = weight_decay_norm
            elif isinstance(module, nn.Embedding) or f"{module_name}.{name}".lstrip(".") in embeddings:
                decay = weight_decay_embed
            items.append({"params": [parameter], "lr": lr * multiplier, "weight_decay": decay})
    if not items:
        raise InputError("nothing to train: no parameter of the model requires a gradient")
    return reduce_param_groups(items)


def undecayed_parameters(backbone: nn.Module) -> set[str]:
    """Name the parameters of a backbone that its authors do not decay, besides those of norms.

    They are what `no_weight_decay()` returns, as timm's models have it, where the backbone has that method. Otherwise
    they are all parameters but the weights and biases of layers: position tables, class tokens, level embeddings and
    the scales of residual branches. Of the families here the authors' segmentation or classification recipes agree.
    """
    named = getattr(backbone, "no_weight_decay", None)
    if callable(named):
        return set(named())
    return {name for name, _ in backbone.named_parameters() if name.rsplit(".", 1)[-1] not in ("weight", "bias")}


def check_optimizer(cfg: CfgNode) -> None:
    """Check the keys of SOLVER that `build_optimizer` reads.

    Raises:
        ValueError: if SOLVER.OPTIMIZER or CLIP_GRADIENTS.CLIP_TYPE is unknown, or a number cannot be used or would have
            no effect.
    """
    solver = cfg.SOLVER
    if solver.OPTIMIZER not in OPTIMIZERS:
        raise InputError(f"SOLVER.OPTIMIZER is {solver.OPTIMIZER!r}, expected one of {OPTIMIZERS}")
    check_at_least(0, {f"SOLVER.{key}": solver[key] for key in RATES})
    check_share({"SOLVER.MOMENTUM": solver.MOMENTUM})
    if solver.NESTEROV and not solver.MOMENTUM:
        raise InputError("SOLVER.NESTEROV True needs a SOLVER.MOMENTUM above 0")
    if solver.BIAS_LR_FACTOR != 1 or solver.WEIGHT_DECAY_BIAS not in (None, solver.WEIGHT_DECAY):
        raise InputError(
            "biases train like weights: SOLVER.BIAS_LR_FACTOR must be 1 and SOLVER.WEIGHT_DECAY_BIAS None, got "
            f"{solver.BIAS_LR_FACTOR} and {solver.WEIGHT_DECAY_BIAS}"
        )
    clipping = solver.CLIP_GRADIENTS
    if not clipping.ENABLED:
        return
    if clipping.CLIP_TYPE not in CLIP_TYPES:
        raise InputError(f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is {clipping.CLIP_TYPE!r}, expected one of {CLIP_TYPES}")
    for key in ("CLIP_VALUE", "NORM_TYPE"):
        if not clipping[key] > 0:
            raise InputError(f"SOLVER.CLIP_GRADIENTS.{key} is {clipping[key]}, expected a number above 0")


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer that `cfg.SOLVER` describes, which clips gradients itself when it steps.

    Args:
        cfg: read are SOLVER.OPTIMIZER, the learning rates, the weight decays and SOLVER.CLIP_GRADIENTS, whose
            CLIP_TYPE may be Detectron2's "value" and "norm" (each parameter on its own) or "full_model" (the norm over
            all of them, as published).
        model: its parameters below `backbone` and `clip` have learning rates of their own; what `undecayed_parameters`
            names of its backbone, SOLVER.WEIGHT_DECAY_EMBED.

    Raises:
        ValueError: as `check_optimizer`, or if the model has nothing to train.
    """
    check_optimizer(cfg)
    solver = cfg.SOLVER
    multipliers = {"backbone": solver.BACKBONE_MULTIPLIER, "clip": solver.CLIP_MULTIPLIER}
    for part, multiplier in multipliers.items():
        if multiplier == 0 and getattr(model, part, None) is not None:
            logger.info("SOLVER.%s_MULTIPLIER is 0: %s is frozen", part.upper(), part)
    backbone = getattr(model, "backbone", None)
    groups = parameter_groups(
        model,
        lr=solver.BASE_LR,
        lr_multipliers=multipliers,
        embeddings={f"backbone.{name}" for name in undecayed_parameters(backbone)} if backbone is not None else (),
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        weight_decay_embed=solver.WEIGHT_DECAY_EMBED,
    )
    if solver.OPTIMIZER == "ADAMW":
        return _with_clipping(cfg, torch.optim.AdamW)(groups, lr=solver.BASE_LR)
    options = {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV}
    return _with_clipping(cfg, torch.optim.SGD)(groups, lr=solver.BASE_LR, **options)


def _with_clipping(cfg: CfgNode, optimizer: type[torch.optim.Optimizer]) -> Any:
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    if not clipping.ENABLED or clipping.CLIP_TYPE != "full_model":
        return maybe_add_gradient_clipping(cfg, optimizer)

    def clip(parameters: Iterable[torch.Tensor]) -> None:
        nn.utils.clip_grad_norm_(parameters, clipping.CLIP_VALUE, clipping.NORM_TYPE)

    return _generate_optimizer_class_with_gradient_clipping(optimizer, global_clipper=clip)


def _is_norm(module: nn.Module) -> bool:
    """Tell norms by their type; timm's RMS norms and their kin, which have no type in common, by the type's name."""
    return isinstance(module, NORM_TYPES) or "norm" in type(module).__name__.lower()
