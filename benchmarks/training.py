"""Time and memory of a training step (forward and backward pass), beside the plain transcription of the network.

    python benchmarks/training.py --batch 1 --classes 171 --threads 1 --json

Crops and labels are random, text features given. What comes after the gradients, clipping and the optimizer, is the
same for both and left out. The published batch is 4; the plain form of that needs about 50 GiB. Times are also told
in units, as in `benchmarks/inference.py`, and memory is the peak above the loaded model of the first step in a fresh
process.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import calibrate, in_fresh_process, machine, peak_memory, time_in_units
from benchmarks.models import load_model, random_image
from benchmarks.plain.catseg import PlainCATSeg
from benchmarks.reports import Report, add_model_options, make_parser, publish
from catseg.arguments import positive
from catseg.errors import UserError
from catseg.vocabulary import Vocabulary

WITHOUT_CHANCE = ("MODEL.SWIN.DROP_PATH_RATE", "0.0")  # so that both networks compute the same
NETWORKS = ("ours", "plain")


@dataclass(frozen=True)
class Task:
    """Settings: a config, overrides, crops per batch, classes, and CPU threads."""

    config: str
    options: tuple[str, ...]
    batch: int
    classes: int
    threads: int


class Steps:
    """Training steps of both networks on the same batch."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self.cfg, self.model = load_model(task.config, [*WITHOUT_CHANCE, *task.options], given_text=True)
        self.names = Vocabulary(f"class {i}" for i in range(task.classes))
        self.model.train().set_train_vocabulary(self.names)
        side = self.cfg.INPUT.CROP.SIZE[0]
        images = random_image(side, task.batch * side).split(side, dim=2)
        labels = torch.randint(task.classes, (task.batch, side // 32, side // 32))
        self.labels = labels.repeat_interleave(32, dim=1).repeat_interleave(32, dim=2)
        self.batch = [{"image": x, "sem_seg": y} for x, y in zip(images, self.labels, strict=True)]

    @cached_property
    def plain(self) -> PlainCATSeg:
        """The plain network, built when it is first used."""
        return PlainCATSeg(self.model, self.cfg).train()

    def ours_step(self) -> Tensor:
        """Our loss and gradients."""
        self.model.zero_grad(set_to_none=True)
        losses = self.model(self.batch)
        assert isinstance(losses, dict)
        losses["loss_sem_seg"].backward()
        return losses["loss_sem_seg"].detach()

    def plain_step(self) -> Tensor:
        """The plain network's loss and gradients."""
        self.plain.zero_grad(set_to_none=True)
        crops = torch.stack([item["image"] for item in self.batch]).float()
        text = self.model.text_features(self.names)
        loss = self.plain.loss(crops, self.labels, text, self.model.ignore_label) * self.model.loss_weight
        loss.backward()
        return loss.detach()

    def call(self, network: str) -> Callable[[], Tensor]:
        """The step of `ours` or `plain`, ready to run."""
        if network == "ours":
            return self.ours_step
        self.plain.zero_grad()  # builds it
        return self.plain_step


def measure_peak(task: Task, network: str) -> float | None:
    """GiB above the loaded model that the first step takes at most; to be called in a fresh process."""
    call = Steps(task).call(network)
    peak = peak_memory(call)
    return None if peak is None else peak / 1024


def gradient_difference(ours: nn.Module, plain: nn.Module) -> float:
    """Norm of the difference of all gradients over the norm of the plain ones; both networks have gradients."""
    expected = {name: parameter.grad for name, parameter in plain.named_parameters() if parameter.grad is not None}
    found = {name: parameter.grad for name, parameter in ours.named_parameters() if parameter.grad is not None}
    if missing := expected.keys() ^ found.keys():
        raise RuntimeError(f"only one of the networks has gradients of {', '.join(sorted(missing))}")
    difference = torch.stack([(found[name] - grad).norm() for name, grad in expected.items()]).norm()
    return float(difference / torch.stack([grad.norm() for grad in expected.values()]).norm())


def run(task: Task, networks: Sequence[str], *, rounds: int) -> dict[str, dict[str, Any]]:
    """Measure a step of the networks, in turn; the gradients are compared after the warm-up."""
    figures: dict[str, dict[str, Any]] = {
        network: {"peak_gib_above_model": in_fresh_process(measure_peak, task, network)} for network in networks
    }
    steps = Steps(task)
    calls = {network: steps.call(network) for network in networks}
    losses = {network: float(call()) for network, call in calls.items()}
    if len(networks) > 1:
        figures["ours"]["loss_difference"] = abs(losses["ours"] - losses["plain"])
        figures["ours"]["gradient_difference"] = gradient_difference(steps.model, steps.plain)
    for network, timing in time_in_units(calls, rounds=rounds).items():
        low, high = timing.units.spread
        figures[network] |= {
            "units": timing.units.median,
            "units_quartiles": [low, high],
            "seconds": timing.median,
            "crops_per_second": task.batch / timing.median,
            "runs_seconds": timing.seconds,
        }
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = _parser()
    args = parser.parse_args(argv)
    task = Task(args.config, tuple(args.opts), args.batch, args.classes, args.threads)
    torch.set_num_threads(args.threads)
    first = calibrate()
    try:
        figures = run(task, NETWORKS if args.plain else NETWORKS[:1], rounds=args.rounds)
    except (OSError, UserError) as error:
        parser.error(str(error))
    report = Report(
        title="Training step",
        settings={
            "config": args.config,
            "options": " ".join(args.opts) or "none",
            "batch": args.batch,
            "classes": args.classes,
            "rounds": args.rounds,
        },
        machine=machine(),
        calibration=(first, calibrate()),
        rows=[_row(network, found) for network, found in figures.items()],
        raw=figures,
        measures={
            network: {key: found[key] for key in ("units", "peak_gib_above_model") if found[key] is not None}
            for network, found in figures.items()
        },
        headline=figures["ours"],
    )
    publish(report, args, parser)


def _row(network: str, found: dict[str, Any]) -> dict[str, str]:
    names = ("units", "seconds", "peak_gib_above_model", "loss_difference", "gradient_difference")
    return {"network": network} | {name: f"{found[name]:.4g}" for name in names if found.get(name) is not None}


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("training", __doc__, rounds=1)
    add_model_options(parser)
    parser.add_argument("--batch", type=positive, default=4, help="crops (default: %(default)s)")
    parser.add_argument("--classes", type=positive, default=171, metavar="T", help="default: %(default)s")
    parser.add_argument("--plain", action="store_true", help="measure the plain transcription too")
    return parser


if __name__ == "__main__":
    main()
