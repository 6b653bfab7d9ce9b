"""Train or evaluate CAT-Seg. `python train_net.py --help` lists the options; configs are in configs/."""

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from torch.multiprocessing import ProcessExitedException

# Detectron2 comes in by catseg alone, which silences a warning of Detectron2's import.
from catseg.build import build_model
from catseg.checkpoint.checkpointer import without_spare_weights
from catseg.console import INTERRUPTED, errors_in_one_line
from catseg.engine.evaluate import evaluate
from catseg.engine.launch import launch
from catseg.engine.setup import argument_parser, setup, start_process, starting_weights
from catseg.engine.trainer import Trainer

if TYPE_CHECKING:
    from detectron2.config import CfgNode

    from catseg.modeling.meta_arch import CATSeg

COMMAND = "train_net.py"

logger = logging.getLogger("catseg.train_net")

EXAMPLES = """
examples:
  train:               python train_net.py --config-file configs/catseg_ade150.yaml
  go on after a break: python train_net.py --config-file configs/catseg_ade150.yaml --resume
  on 4 GPUs:           python train_net.py --config-file configs/catseg_ade150.yaml --num-gpus 4
  evaluate:            python train_net.py --config-file configs/catseg_ade150.yaml --eval-only MODEL.WEIGHTS FILE
  train on ADE20K:     python train_net.py --config-file configs/catseg_ade150.yaml \\
                           DATASETS.TRAIN "('ade20k_150_train_sem_seg',)"

Without a GPU the same commands run on the CPU, and --num-gpus is the number of processes there. Errors in options,
files and data are one line. Their traceback is in OUTPUT_DIR/log.txt, and CATSEG_DEBUG=1 or --debug shows it.
"""


def run(cfg: "CfgNode", args: argparse.Namespace) -> None:
    """Train or evaluate, in one process of a run."""
    with errors_in_one_line(COMMAND):
        start_process(cfg, args)
        if args.eval_only:
            weights = starting_weights(cfg, args)
            evaluate(cfg, load_model(cfg, weights), weights=weights or "random weights")
        else:
            start_training(cfg, args).train()


def load_model(cfg: "CfgNode", weights: str) -> "CATSeg":
    """Build the model that is evaluated, and say so if the weights do not fill it.

    Args:
        cfg: of `setup`.
        weights: path or URL of the weights, or "".
    """
    model, trained = build_model(cfg, weights)
    if not trained:
        logger.warning(
            "THE NUMBERS BELOW ARE OF RANDOM WEIGHTS: the segmentation head was not loaded. "
            "Give a checkpoint as MODEL.WEIGHTS, or --resume for the last one of %s",
            cfg.OUTPUT_DIR,
        )
    return model


def start_training(cfg: "CfgNode", args: argparse.Namespace) -> Trainer:
    """Build everything that training needs, and load the weights that it starts from."""
    trainer = Trainer(without_spare_weights(cfg, starting_weights(cfg, args)))
    trainer.resume_or_load(resume=args.resume)
    return trainer


def main() -> None:
    """Check the arguments, then run in as many processes as they ask for."""
    args = argument_parser(EXAMPLES).parse_args()
    with errors_in_one_line(COMMAND):
        cfg = setup(args)
    try:
        launch(
            run,
            num_processes=args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            device=cfg.MODEL.DEVICE,
            args=(cfg, args),
        )
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ProcessExitedException as error:  # a process that left by sys.exit has said why
        if error.exit_code < 0:
            raise
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
