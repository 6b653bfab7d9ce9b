"""Backbones of this project against plain transcriptions of the same arithmetic, side by side in one process.

    python benchmarks/backbone_speed.py --families VAN MPViT --threads 1

For each backbone, both networks get the same weights, and their maps must agree before anything is timed: one forward
pass, and one training step (forward and backward), on random images of 384 x 384 pixels.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import Call, Timing, calibrate, machine, peak_memory, ratio, time_in_turn
from benchmarks.plain.cvt import PlainCvT
from benchmarks.plain.mpvit import PlainMPViT
from benchmarks.plain.swin import PlainSwin
from benchmarks.plain.twins import PlainTwins
from benchmarks.plain.van import PlainVAN
from benchmarks.plain.vit_adapter import PlainViTAdapter
from benchmarks.reports import Report, make_parser, publish
from catseg.arguments import positive
from catseg.tools.backbone_table import all_sizes, build

PLAIN: dict[str, Callable[..., nn.Module]] = {
    "D2SwinTransformer": PlainSwin,
    "VAN": PlainVAN,
    "CvT": PlainCvT,
    "TwinsPCPVT": PlainTwins,
    "TwinsSVT": PlainTwins,
    "MPViT": PlainMPViT,
    "ViTAdapter": PlainViTAdapter,
}
TOLERANCE = 1e-4  # of a map's largest difference over its standard deviation
NOISE = 0.02  # standard deviation of what is added to initial weights, so that no branch is switched off


@dataclass(frozen=True)
class Comparison:
    """What was measured of one task (forward pass or training step), ours and plain."""

    ours: Timing
    plain: Timing
    ours_mib: float | None
    plain_mib: float | None

    @property
    def ratio(self) -> float:
        """Our time over the plain time."""
        return ratio(self.ours, self.plain)


def build_pair(family: str, size: str) -> tuple[nn.Module, nn.Module]:
    """Our backbone with all its maps and the plain one, with the same random weights."""
    ours = build(family, size)
    state = {name: _noisy(name, tensor) for name, tensor in ours.state_dict().items()}
    ours.load_state_dict(state)
    plain = PLAIN[family](**all_sizes()[family][size])
    plain.load_state_dict(state)
    return ours, plain.eval()


def _noisy(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    noise = NOISE * torch.randn_like(tensor)
    return tensor + (noise.abs() if name.endswith("running_var") else noise)


def check_equal(ours: nn.Module, plain: nn.Module, images: Tensor) -> float:
    """Compare the maps.

    Returns:
        The largest difference over the standard deviation of its map.

    Raises:
        RuntimeError: if maps are missing or differ by more than `TOLERANCE`.
    """
    with torch.no_grad():
        found, expected = ours(images), plain(images)
    if list(found) != list(expected):
        raise RuntimeError(f"{type(ours).__name__} gives {list(found)}, the plain network {list(expected)}")
    errors = {name: float((found[name] - x).abs().max() / x.std()) for name, x in expected.items()}
    if not max(errors.values()) <= TOLERANCE:
        raise RuntimeError(f"{type(ours).__name__} differs from the plain network: {errors}")
    return max(errors.values())


def forward(network: nn.Module, images: Tensor) -> None:
    """One forward pass in evaluation."""
    with torch.no_grad():
        network(images)


def training_step(network: nn.Module, images: Tensor) -> None:
    """One forward and backward pass, to the gradients of all weights."""
    network.zero_grad(set_to_none=True)
    torch.stack([x.square().mean() for x in network(images).values()]).sum().backward()


def compare(
    task: Callable[[nn.Module, Tensor], None], ours: nn.Module, plain: nn.Module, images: Tensor, *, rounds: int
) -> Comparison:
    """Time a task for both networks in turn, and take its memory peaks."""
    calls: dict[str, Call] = {"ours": lambda: task(ours, images), "plain": lambda: task(plain, images)}
    timings = time_in_turn(calls, rounds=rounds)
    memory = {}
    for name, network in (("ours", ours), ("plain", plain)):
        network.zero_grad(set_to_none=True)
        memory[name] = peak_memory(calls[name])
        network.zero_grad(set_to_none=True)
    return Comparison(timings["ours"], timings["plain"], memory["ours"], memory["plain"])


def benchmark(family: str, size: str, *, side: int, batch: int, rounds: int) -> tuple[dict[str, str], dict[str, Any]]:
    """Compare one size of one family.

    Returns:
        The line of the table, and all numbers.
    """
    torch.manual_seed(0)
    images = torch.randn(batch, 3, side, side)
    ours, plain = build_pair(family, size)
    error = check_equal(ours, plain, images)
    row = {"backbone": f"{family} {size}", "difference": f"{error:.0e}"}
    raw: dict[str, Any] = {"family": family, "size": size, "difference": error}
    for name, task, training in (("forward", forward, False), ("step", training_step, True)):
        found = compare(task, ours.train(training), plain.train(training), images, rounds=rounds)
        row |= {
            f"{name}, ms": str(found.ours),
            f"plain {name}, ms": str(found.plain),
            f"{name} ratio": f"{found.ratio:.2f}",
            f"{name} MiB, ours / plain": f"{_mib(found.ours_mib)} / {_mib(found.plain_mib)}",
        }
        raw[name] = {"ratio": found.ratio, **_numbers(found)}
    return row, raw


def _numbers(found: Comparison) -> Mapping[str, Any]:
    return {
        "ours_seconds": found.ours.seconds,
        "plain_seconds": found.plain.seconds,
        "ours_mib": found.ours_mib,
        "plain_mib": found.plain_mib,
    }


def _mib(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def select(families: Sequence[str], sizes: Sequence[str] | None) -> list[tuple[str, str]]:
    """Family and size of each backbone to compare: the smallest of each family, or those of the given names.

    Raises:
        ValueError: if no family has a size of a given name.
    """
    known = all_sizes()
    if sizes is None:
        return [(family, next(iter(known[family]))) for family in families]
    chosen = [(family, size) for family in families for size in known[family] if size in sizes]
    missing = [size for size in sizes if size not in {size for _, size in chosen}]
    if missing:
        available = "; ".join(f"{family}: {', '.join(known[family])}" for family in families)
        raise ValueError(f"no family has the size {', '.join(missing)}; there are {available}")
    return chosen


def main(argv: Sequence[str] | None = None) -> None:
    """Compare the chosen backbones and print a table."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        chosen = select(args.families, args.sizes)
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(args.threads)
    before = calibrate()
    results = []
    with tqdm(chosen, unit="backbone") as progress:
        for family, size in progress:
            progress.set_description(f"{family} {size}")
            results.append(benchmark(family, size, side=args.side, batch=args.batch, rounds=args.rounds))
    report = Report(
        title="Backbones against plain transcriptions",
        settings={"images": f"{args.batch} x 3 x {args.side} x {args.side}", "rounds": args.rounds},
        machine=machine(),
        calibration=(before, calibrate()),
        rows=[row for row, _ in results],
        raw=[raw for _, raw in results],
        measures={
            row["backbone"]: {f"{task} ratio": raw[task]["ratio"] for task in ("forward", "step")}
            for row, raw in results
        },
    )
    publish(report, args, parser)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("backbones", __doc__, rounds=9)
    known = list(PLAIN)
    parser.add_argument("--families", nargs="+", choices=known, default=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--sizes", nargs="+", metavar="SIZE", help="default: the smallest of each family")
    parser.add_argument("--side", type=positive, default=384, help="of the images, in pixels (default: %(default)s)")
    parser.add_argument("--batch", type=positive, default=1, help="images (default: %(default)s)")
    return parser


if __name__ == "__main__":
    main()
