"""What `--resume` may change: the options of a run compared with those that it was begun with."""

import logging
import re
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from catseg.atomic import atomic_path
from catseg.checkpoint.files import last_checkpoint
from catseg.config_values import flat
from catseg.errors import InputError

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"

# Options, or whole sections of them, that a resumed run takes as they are now: how long it goes on, how it computes,
# what it keeps and how it is evaluated. All others come with the checkpoint or would make of one run two.
TAKE_EFFECT = (
    "CUDNN_BENCHMARK",
    "DATALOADER.NUM_WORKERS",
    "DATASETS.OWN",
    "DATASETS.TEST",
    "DATASETS.TEST_CLASSES",
    "INPUT.MAX_SIZE_TEST",
    "INPUT.MIN_SIZE_TEST",
    "LOGGING",
    "MODEL.ACTIVATION_CHECKPOINTING",
    "MODEL.CLIP.TEXT_CACHE",
    "MODEL.COMPILE",
    "MODEL.DEVICE",
    "MODEL.SEM_SEG_HEAD.POOLING_SIZES_TEST",
    "MODEL.SYNC_BATCH_NORM",
    "OUTPUT_DIR",
    "SOLVER.AMP",
    "SOLVER.CHECKPOINTS_KEPT",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.CLIP_GRADIENTS",
    "SOLVER.MAX_ITER",
    "TEST",
)


def check_resumable(cfg: CfgNode) -> None:
    """Check that a run which goes on with the last checkpoint of OUTPUT_DIR has the options that this is of.

    Raises:
        FileNotFoundError: if there ought to be a last checkpoint and is not.
        ValueError: if an option differs that does not take effect, if SOLVER.MAX_ITER is less than the run has done, or
            if the file of the run's options is damaged.
    """
    folder = Path(cfg.OUTPUT_DIR)
    checkpoint = last_checkpoint(folder)
    if checkpoint is None:
        return
    changed = changed_options(cfg)
    wrong = {key: values for key, values in changed.items() if not _takes_effect(key)}
    if wrong:
        raise InputError(
            f"{folder} is of a run with other options, --resume needs the same ones: {_listed(wrong)}. For a new run "
            f"with these options that starts from its weights: another output folder and the weights {checkpoint}"
        )
    steps, numbered = changed.get("SOLVER.MAX_ITER", (0, 0))[0], re.fullmatch(r"model_(\d+)\.pth", checkpoint.name)
    done = int(numbered[1]) + 1 if numbered else steps
    if done > cfg.SOLVER.MAX_ITER:
        raise InputError(
            f"{checkpoint} is of a run that has already done {done} iterations, and {cfg.SOLVER.MAX_ITER} are asked "
            "for (SOLVER.MAX_ITER): --resume needs at least as many"
        )


def changed_options(cfg: CfgNode) -> dict[str, tuple[Any, Any]]:
    """Compare a config with the one in OUTPUT_DIR.

    Returns:
        Key to the value there and the one in `cfg`, for the options that both have and that differ; nothing if there is
        no config.

    Raises:
        ValueError: if the file is damaged.
    """
    path = Path(cfg.OUTPUT_DIR) / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        before = dict(flat(CfgNode.load_cfg(path.read_text(encoding="utf-8"))))
    except Exception as error:  # yacs and PyYAML raise many kinds
        raise InputError(
            f"{path} is damaged, so that --resume cannot compare its options: write the run's into it, or delete it "
            f"to resume unchecked ({type(error).__name__})"
        ) from error
    now = dict(flat(CfgNode.load_cfg(cfg.dump())))  # tuples become lists, as in the file
    return {key: (before[key], value) for key, value in now.items() if key in before and before[key] != value}


def report_changes(cfg: CfgNode) -> None:
    """Log which options of a resumed run, one that `check_resumable` allows, are other ones from here on."""
    folder = Path(cfg.OUTPUT_DIR)
    if not (folder / CONFIG_FILE).is_file():
        logger.warning("%s holds no %s: whether the run had these options is not known", folder, CONFIG_FILE)
    changed = changed_options(cfg)
    if changed:
        logger.info("Options that differ from the run's so far, and take effect: %s", _listed(changed))
    if "SOLVER.MAX_ITER" in changed:
        logger.info("From here on the learning rate is that of a run of %d iterations", cfg.SOLVER.MAX_ITER)


def write_config(cfg: CfgNode, *, name: str = CONFIG_FILE) -> None:
    """Write a config to OUTPUT_DIR."""
    with atomic_path(Path(cfg.OUTPUT_DIR) / name) as path:
        path.write_text(cfg.dump(), encoding="utf-8")


def _takes_effect(key: str) -> bool:
    return any(key == option or key.startswith(f"{option}.") for option in TAKE_EFFECT)


def _listed(changed: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{key} {now!r} (was {before!r})" for key, (before, now) in changed.items())
