"""Scalars of a training sent to Weights & Biases, where LOGGING.WANDB_PROJECT asks for it."""

import importlib
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, get_event_storage

from catseg.config_values import flat
from catseg.errors import InputError, RunError

_RUN_ID = "wandb_run_id.txt"
_WINDOW = 20  # iterations whose median is sent, as Detectron2 does for TensorBoard


class WandbWriter(EventWriter):
    """Sends what Detectron2's other writers write: losses, learning rate, times and overall metrics, by iteration.

    A training that is resumed goes on with its run: the run's id is kept in OUTPUT_DIR. What Weights & Biases itself
    reads from the environment (WANDB_MODE, WANDB_ENTITY, WANDB_NAME, ...) holds.

    Args:
        cfg: of the run; read are LOGGING.WANDB_PROJECT and OUTPUT_DIR, and all of it is sent as the run's config.
        resume: whether the training goes on with that of OUTPUT_DIR.

    Raises:
        ValueError: if the package wandb is not installed.
        RuntimeError: if it cannot begin a run.
    """

    def __init__(self, cfg: CfgNode, *, resume: bool = False) -> None:
        folder = Path(cfg.OUTPUT_DIR)
        kept = folder / _RUN_ID
        known = kept.read_text(encoding="utf-8").strip() if resume and kept.is_file() else None
        project = cfg.LOGGING.WANDB_PROJECT
        wandb = import_wandb(project)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run: Any = wandb.init(
                project=project,
                name=folder.resolve().name,
                dir=str(folder),
                config=dict(flat(cfg)),
                id=known,
                resume="allow" if known else None,
            )
        except Exception as error:  # it raises many kinds: no login, no network, a wrong name
            raise RunError(
                f"Weights & Biases cannot begin a run of the project {project!r}: {error}. `wandb login` logs in, "
                "WANDB_MODE=offline in the environment keeps the run on this machine, and LOGGING.WANDB_PROJECT '' "
                "does without"
            ) from error
        kept.write_text(f"{self._run.id}\n", encoding="utf-8")
        self._last_write = -1

    def write(self) -> None:
        """Send the scalars that are new since the last call."""
        new: dict[int, dict[str, float]] = defaultdict(dict)
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(_WINDOW).items():
            if iteration > self._last_write:
                new[iteration][name] = value
        for iteration in sorted(new):
            self._run.log(new[iteration], step=iteration)
            self._last_write = iteration

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def import_wandb(project: str) -> ModuleType:
    """Import the package wandb.

    Args:
        project: that asks for it, for the message.

    Raises:
        ValueError: if it is not installed or cannot be imported.
    """
    try:
        wandb = importlib.import_module("wandb")
    except ImportError as error:
        reason = str(error)
    else:
        if hasattr(wandb, "init"):
            return wandb
        reason = "a folder of that name is not the package"  # such as wandb's own, of earlier runs
    raise InputError(
        f"LOGGING.WANDB_PROJECT is {project!r}, but the package wandb cannot be used ({reason}): install it "
        "(pip install wandb), or set LOGGING.WANDB_PROJECT ''"
    )
