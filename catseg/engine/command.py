"""The training command: `train_net.py`, or any program that calls `main`."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from detectron2.config import CfgNode
from torch.multiprocessing import ProcessExitedException

from catseg.build import build_model
from catseg.checkpoint.checkpointer import without_spare_weights
from catseg.console import INTERRUPTED, errors_in_one_line
from catseg.engine.evaluate import evaluate
from catseg.engine.launch import launch, run_joined
from catseg.engine.setup import argument_parser, setup, start_process, starting_weights
from catseg.engine.started_processes import Meeting, StartedProcess, started_process
from catseg.engine.trainer import Trainer
from catseg.modeling.segmenter import OpenVocabularySegmenter

COMMAND = "train_net.py"

EXAMPLES = """
examples:
  train:               python train_net.py --config-file configs/catseg_ade150.yaml
  go on after a break: python train_net.py --config-file configs/catseg_ade150.yaml --resume
  on 4 GPUs:           python train_net.py --config-file configs/catseg_ade150.yaml --num-gpus 4
  on 4 GPUs of each of 2 machines, on both of them:
                       torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29400 \\
                           train_net.py --config-file configs/catseg_ade150.yaml
  the same by SLURM:   srun --nodes 2 --ntasks-per-node 4 --gpus-per-node 4 \\
                           python train_net.py --config-file configs/catseg_ade150.yaml
  evaluate:            python train_net.py --config-file configs/catseg_ade150.yaml --eval-only MODEL.WEIGHTS FILE
  train on ADE20K:     python train_net.py --config-file configs/catseg_ade150.yaml \\
                           DATASETS.TRAIN "('ade20k_150_train_sem_seg',)"

Without a GPU the same commands run on the CPU, and --num-gpus is the number of processes there. Processes that torchrun
or srun have started join one another and need no --num-gpus; torchrun counts before SLURM, and --num-machines with
--dist-url before SLURM too: the command then starts the processes of each machine by itself. Errors in options, files
and data are one line. Their traceback is in OUTPUT_DIR/log.txt, and CATSEG_DEBUG=1 or --debug shows it.
"""

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None, *, command: str = COMMAND, wrong_use: int | None = None) -> None:
    """Check the arguments, then train or evaluate in as many processes as they ask for.

    Args:
        arguments: of the command line, `sys.argv[1:]` when omitted.
        command: name of the program, which the lines of errors begin with and the examples of `--help` name.
        wrong_use: the status after settings that cannot be used, see `errors_in_one_line`.

    Raises:
        SystemExit: with status 2 for arguments that do not exist, 1 and one line for errors that the user can mend, and
            130 after Ctrl-C.
    """
    args = argument_parser(EXAMPLES.replace(COMMAND, command)).parse_args(arguments)
    with errors_in_one_line(command):
        process = started_process(os.environ, args)
    try:
        if process is not None:
            _run_started(process, args, command)
            return
        with errors_in_one_line(command, wrong_use=wrong_use):
            cfg = setup(args)
        launch(
            run,
            num_processes=args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            device=cfg.MODEL.DEVICE,
            args=(cfg, args, command),
        )
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ProcessExitedException as error:  # a process that left by sys.exit has said why
        if error.exit_code < 0:
            raise
        sys.exit(error.exit_code)


def _run_started(process: StartedProcess, args: argparse.Namespace, command: str) -> None:
    """Run in a process that a launcher has started. The first of each machine checks the arguments for all of them."""
    with errors_in_one_line(command):
        meeting = Meeting(process)

        def check() -> tuple[argparse.Namespace, CfgNode]:
            own = meeting.arguments(args)
            gpus = 1 if process.launcher == "srun" else None  # srun may show each process a GPU of its own alone
            return own, setup(own, gpus=gpus)

        checked, cfg = meeting.once_per_machine(check)
        run_joined(run, meeting, device=cfg.MODEL.DEVICE, args=(cfg, checked, command))


def run(cfg: CfgNode, args: argparse.Namespace, command: str = COMMAND) -> None:
    """Train or evaluate, in one process of a run.

    Args:
        cfg: of `setup`.
        args: of `argument_parser`.
        command: as in `main`.
    """
    with errors_in_one_line(command):
        start_process(cfg, args)
        if args.eval_only:
            weights = starting_weights(cfg, args)
            model = load_model(cfg, weights)
            initial = f"CLIP's, {cfg.MODEL.CLIP.WEIGHTS}" if model.pretrained else "random weights"
            evaluate(cfg, model, weights=weights or initial)
        else:
            start_training(cfg, args).train()


def load_model(cfg: CfgNode, weights: str) -> OpenVocabularySegmenter:
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


def start_training(cfg: CfgNode, args: argparse.Namespace) -> Trainer:
    """Build everything that training needs, and load the weights that it starts from."""
    trainer = Trainer(without_spare_weights(cfg, starting_weights(cfg, args)))
    trainer.resume_or_load(resume=args.resume)
    return trainer
