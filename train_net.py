"""Train or evaluate CAT-Seg. `python train_net.py --help` lists the options; configs are in configs/."""

import argparse
import logging
import sys

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser

from catseg.checkpoint.checkpointer import Checkpointer
from catseg.engine.evaluation import evaluate
from catseg.engine.launch import launch
from catseg.engine.setup import setup, start_process
from catseg.engine.trainer import INTERRUPTED, Trainer

logger = logging.getLogger("catseg.train_net")

EXAMPLES = """
examples:
  train:               python train_net.py --config-file configs/catseg_ade150.yaml
  go on after a break: python train_net.py --config-file configs/catseg_ade150.yaml --resume
  on 4 GPUs:           python train_net.py --config-file configs/catseg_ade150.yaml --num-gpus 4
  evaluate:            python train_net.py --config-file configs/catseg_ade150.yaml --eval-only MODEL.WEIGHTS FILE
  train on ADE20K:     python train_net.py --config-file configs/catseg_ade150.yaml \\
                           DATASETS.TRAIN "('ade20k_150_train_sem_seg',)"

Without a GPU the same commands run on the CPU, and --num-gpus is the number of processes there.
"""


def run(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Train or evaluate, in one process of a run."""
    start_process(cfg, args)
    if args.eval_only:
        evaluate_only(cfg, resume=args.resume)
        return
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


def evaluate_only(cfg: CfgNode, *, resume: bool) -> None:
    """Evaluate the weights MODEL.WEIGHTS or, with `resume`, the last checkpoint of OUTPUT_DIR."""
    model = Trainer.build_model(cfg)
    checkpointer = Checkpointer(model, cfg.OUTPUT_DIR)
    path = checkpointer.get_checkpoint_file() if resume else cfg.MODEL.WEIGHTS
    checkpointer.load(path, checkpointables=[])
    if not checkpointer.complete:
        logger.warning(
            "THE NUMBERS BELOW ARE OF RANDOM WEIGHTS: the segmentation head was not loaded. "
            "Give a checkpoint as MODEL.WEIGHTS, or --resume for the last one of %s",
            cfg.OUTPUT_DIR,
        )
    evaluate(cfg, model, weights=path or "random weights")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = default_argument_parser(epilog=EXAMPLES)
    parser.set_defaults(dist_url="auto")
    return parser.parse_args()


def main() -> None:
    """Check the arguments, then run in as many processes as they ask for."""
    args = parse_arguments()
    try:
        cfg = setup(args)
    except (AssertionError, KeyError, OSError, ValueError) as error:
        sys.exit(f"train_net.py: {error.args[0] if isinstance(error, KeyError) else error}")
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


if __name__ == "__main__":
    main()
