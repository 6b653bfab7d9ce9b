"""The length of a training run, and the schedule of its learning rate."""

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler

from catseg.config_checks import check_at_least
from catseg.errors import InputError


def check_schedule(cfg: CfgNode) -> None:
    """Check SOLVER's length and schedule, by building it for an optimizer that is then dropped.

    Raises:
        ValueError: as `build_schedule`.
    """
    build_schedule(cfg, torch.optim.SGD([torch.zeros(1)], lr=1.0))


def build_schedule(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
    """Build the schedule that Detectron2 has for the keys of SOLVER.

    Raises:
        ValueError: if it has none, or not for these numbers.
    """
    check_at_least(1, {"SOLVER.MAX_ITER": cfg.SOLVER.MAX_ITER})
    keys = ("GAMMA", "STEPS", "WARMUP_FACTOR", "WARMUP_ITERS")
    check_at_least(0, {f"SOLVER.{key}": cfg.SOLVER[key] for key in keys})
    try:
        return build_lr_scheduler(cfg, optimizer)
    except ValueError as error:
        raise InputError(
            "SOLVER asks for a schedule of the learning rate that does not exist (LR_SCHEDULER_NAME, STEPS, "
            f"WARMUP_METHOD): {error}"
        ) from error
