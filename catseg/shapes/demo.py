"""The whole chain on generated data: draw it, pretrain a CLIP, train CAT-Seg, evaluate, write a table and images.

    python -m catseg.shapes.demo --output output/shapes

Each seed makes two runs, `default` and `strict`: they differ in what the captions of the CLIP tell of (results.md says
what *never seen* means in each). Runs share the processor, one core each. Running the command again makes only what is
missing or was asked for differently.
"""

import argparse
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import RLock
from pathlib import Path
from typing import Any, NoReturn

import torch
from tqdm import tqdm

from catseg.api.loading import load
from catseg.api.model import CATSegModel
from catseg.api.registry import SHAPES, shapes_folder
from catseg.api.request import THRESHOLD
from catseg.arguments import file_path
from catseg.config import shipped_config
from catseg.console import add_debug_option, errors_in_one_line
from catseg.errors import RunError
from catseg.shapes.contact_sheet import write_contact_sheet
from catseg.shapes.contrastive import Schedule
from catseg.shapes.generate import generate_shapes
from catseg.shapes.pretrain_clip import Pretraining
from catseg.shapes.report import SEEN_TEST, Row, collect_rows, write_report
from catseg.shapes.run import Job, read_outcome, run_job
from catseg.shapes.threshold import measure

TRAINING_STEPS = 300  # of CAT-Seg, at scale 1
# `--short` shows that the chain works: one run, too short for good numbers.
SHORT_PRETRAINING, SHORT_TRAINING_STEPS = Pretraining(min_accuracy=0.3, schedule=Schedule(steps=600)), 100
TERMINATED = 143  # exit status after `kill`, as shells have it

logger = logging.getLogger(__name__)


def plan_jobs(args: argparse.Namespace) -> list[Job]:
    """List the runs that the command line asks for."""
    if args.short:
        runs, steps = {"short": SHORT_PRETRAINING}, SHORT_TRAINING_STEPS
    else:
        suffix = "" if args.scale == 1 else f"-x{args.scale:g}"
        schedule = Schedule(steps=round(Schedule().steps * args.scale))
        runs = {
            f"{variant}-seed{seed}{suffix}": Pretraining(seed=seed, strict=variant == "strict", schedule=schedule)
            for seed in args.seeds
            for variant in ("default", "strict")
        }
        steps = round(TRAINING_STEPS * args.scale)
    return [
        Job(
            name=name,
            output=args.output,
            config_file=args.config_file,
            options=("SOLVER.MAX_ITER", str(steps), *args.opts),
            pretraining=pretraining,
        )
        for name, pretraining in runs.items()
    ]


def run_jobs(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Run jobs in processes of their own, as many at a time as there are processors, and return their outcomes.

    Ctrl-C, or a job that fails, ends all of them.

    Raises:
        RuntimeError: if a job fails; it has said why on the standard error stream.
    """
    context = get_context("spawn")
    lock = context.RLock()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting, running = list(jobs), dict[int, SpawnProcess]()
    free_lines = list(range(cores))
    try:
        while waiting or running:
            while waiting and free_lines:
                job = replace(waiting.pop(0), position=free_lines.pop(0))
                process = context.Process(target=_work, args=(job, lock), name=job.name)
                process.start()
                running[job.position] = process
            wait([process.sentinel for process in running.values()])
            for line in [line for line, process in running.items() if process.exitcode is not None]:
                process = running.pop(line)
                free_lines = sorted([*free_lines, line])
                if process.exitcode:
                    raise RunError(f"the run {process.name} ended with status {process.exitcode}")
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()
    return [read_outcome(job) for job in jobs]


def _work(job: Job, lock: RLock) -> None:
    """Run a job in a process of its own, which leaves Ctrl-C to the main process and ends when that tells it to."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_tidily_on_sigterm()
    tqdm.set_lock(lock)
    torch.set_num_threads(1)  # the networks are so small that a second thread gains little
    with errors_in_one_line(job.name):
        run_job(job)


def _end_tidily_on_sigterm() -> None:
    """Turn the signal into an exception, so that workers are ended and half-written files removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))


def demo(args: argparse.Namespace) -> int:
    """Run everything; return the exit status: 0 if CAT-Seg beats the raw cost volume on classes it never saw."""
    start = time.perf_counter()
    jobs = plan_jobs(args)
    root = (args.output / "datasets").absolute()
    os.environ["DETECTRON2_DATASETS"] = str(root)
    data = generate_shapes(root)
    outcomes = run_jobs(jobs)
    rows = collect_rows(outcomes)
    table = write_report(args.output, rows, outcomes, command=args.command)
    write_contact_sheet(args.output / "contact_sheet.png", data, jobs[0].run_folder)
    model = load(str(jobs[0].run_folder), device="cpu")
    (separation,) = measure(model, SEEN_TEST, thresholds=(THRESHOLD,))
    if not args.short:
        keep_model(model)
    sys.stdout.write(f"\n{table}\n\n{_where_things_are(args, jobs[0])}\n")
    sys.stdout.write(
        f"With one class named, {separation.found:.1%} of its pixels are found; where it is absent, "
        f"{1 - separation.rejected:.1%} of the pixels get it (threshold {THRESHOLD}).\n"
    )
    sys.stdout.write(f"Took {(time.perf_counter() - start) / 60:.1f} minutes.\n")
    losers = [row.name for row in rows if row.kind == "catseg" and not _beats_raw(row, rows)]
    if separation.found < 1 - separation.rejected:
        sys.stdout.write("FAILED: classes are seen where they are absent rather than where they are\n")
        return 1
    if losers:
        sys.stdout.write(f"FAILED: on never-seen classes, no better than the raw cost volume: {', '.join(losers)}\n")
    return 1 if losers else 0


def keep_model(model: CATSegModel) -> Path:
    """Keep a model for `catseg.load("shapes")`; returns where."""
    model.name = SHAPES
    return model.save_pretrained(shapes_folder(), licence="apache-2.0")


def _beats_raw(row: Row, rows: Sequence[Row]) -> bool:
    raw = next(other for other in rows if other.kind == "raw" and other.strict is row.strict)
    return row.mean("never seen") > raw.mean("never seen")


def _where_things_are(args: argparse.Namespace, job: Job) -> str:
    folder = args.output
    return f"""\
Table, what its columns mean, plot:  {folder}/results.md, {folder}/results.json, {folder}/results.png
Test images with label maps:         {folder}/contact_sheet.png
Weights and logs of the runs:        {job.run_folder.parent}
Segment images with a trained model, into any classes:
  catseg segment {folder}/datasets/shapes/images/unseen_test "blue patch, something yellow, sand, night sky" \\
      -o {folder}/segmented --model {job.run_folder}"""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line. `command` is how to type it again."""
    parser = argparse.ArgumentParser(prog="python -m catseg.shapes.demo", description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=file_path, default=Path("output/shapes"), help="folder (default: %(default)s)")
    parser.add_argument(
        "--config-file",
        type=file_path,
        default=shipped_config("catseg_shapes"),
        help="(default: the one that comes with catseg)",
    )
    parser.add_argument("--short", action="store_true", help="one short run, to see that everything works")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="two runs for each (default: 0)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor on the steps of both trainings (default: %(default)s)"
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs that override the config, at the end"
    )
    add_debug_option(parser)
    args = parser.parse_args(arguments)
    if args.scale <= 0 or len(set(args.seeds)) < len(args.seeds):
        parser.error("--scale must be positive, and --seeds differ from each other")
    args.command = shlex.join(["python", "-m", "catseg.shapes.demo", *arguments])
    return args


def main() -> None:
    """Run the command."""
    args = parse_arguments(sys.argv[1:])
    run_as_command("catseg.shapes.demo", lambda: demo(args))


def run_as_command(name: str, command: Callable[[], int]) -> NoReturn:
    """Run a command that may call `run_jobs`, and exit: errors are shown by `catseg.console`, `kill` ends all jobs.

    Args:
        name: of the command, for messages.
        command: returns the exit status.
    """
    os.environ.setdefault("TQDM_MININTERVAL", "0.5" if sys.stderr.isatty() else "30")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _end_tidily_on_sigterm()
    with errors_in_one_line(name, interrupted="interrupted; the same command goes on from what is finished"):
        sys.exit(command())


if __name__ == "__main__":
    main()
