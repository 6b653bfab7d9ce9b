"""List this project's backbones: what each costs, and what its authors published.

    python -m catseg.tools.backbone_table --families VAN MPViT --threads 1

prints a Markdown table of every size: parameters, multiply-adds and time for one crop of 384 x 384 pixels, of the part
of the network that CAT-Seg uses (the maps `res2` to `res4`), with random weights; and published accuracies.
"""

import argparse
import inspect
import logging
import math
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from tabulate import tabulate
from torch import Tensor, nn
from tqdm import tqdm

from catseg.arguments import file_path, positive
from catseg.atomic import write_json
from catseg.console import add_debug_option, errors_in_one_line
from catseg.modeling import backbones
from catseg.modeling.backbones.pyramid import PyramidBackbone, SizedBackbone
from catseg.tools.backbone_facts import FACTS

CROP = 384
MAPS = ("res2", "res3", "res4")
# MODEL.SWIN of the published sizes, without the stage that gives `res5`.
SWIN_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"embed_dim": 96, "depths": (2, 2, 6), "num_heads": (3, 6, 12), "window_size": 7},
    "small": {"embed_dim": 96, "depths": (2, 2, 18), "num_heads": (3, 6, 12), "window_size": 7},
    "base": {"embed_dim": 128, "depths": (2, 2, 18), "num_heads": (4, 8, 16), "window_size": 12},
    "large": {"embed_dim": 192, "depths": (2, 2, 18), "num_heads": (6, 12, 24), "window_size": 12},
}
# Names of operations that multiply and add; elementwise ones and softmax do not count, by convention.
PRODUCTS = re.compile("conv|mm|mv|dot|einsum|attention")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One size of one family: millions of parameters, billions of multiply-adds, milliseconds, published facts."""

    family: str
    size: str
    parameters: float
    gflops: float
    milliseconds: float | None
    imagenet: str
    ade20k: str
    licence: str


def all_sizes() -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """Registered name of each family of this project to its sizes, smallest first, to their constructor arguments."""
    classes = inspect.getmembers(backbones, inspect.isclass)
    sized = {name: family.sizes for name, family in classes if issubclass(family, SizedBackbone) and family.sizes}
    return {"D2SwinTransformer": SWIN_SIZES, **sized}


def build(family: str, size: str, **options: Any) -> PyramidBackbone:
    """Build a backbone with random weights.

    Args:
        family: a key of `all_sizes()`.
        size: a key of `all_sizes()[family]`.
        options: constructor arguments besides those of the size.

    Returns:
        The backbone on the CPU, in evaluation mode.
    """
    return getattr(backbones, family)(**all_sizes()[family][size], **options).eval()


def count_gflops(backbone: nn.Module, image: Tensor) -> float:
    """Billions of multiply-adds of one forward pass, those of fused attention included; warns of what is left out."""
    analysis = FlopCountAnalysis(backbone, image)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _count_attention)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    total = analysis.total() / 1e9
    missed = [name for name in analysis.unsupported_ops() if PRODUCTS.search(name)]
    if missed:
        logger.warning("%s: multiply-adds without those of %s", type(backbone).__name__, ", ".join(sorted(missed)))
    return total


def _count_attention(inputs: list[Any], _outputs: list[Any]) -> int:
    """Multiply-adds of softmax(q k^T) v, `(..., N, C) x (..., M, C) x (..., M, D)`."""
    query, key, value = (node.type().sizes() for node in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def median_milliseconds(call: Callable[[], object], runs: int) -> float:
    """Median time of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def describe(family: str, size: str, *, runs: int) -> Row:
    """Build a backbone and measure it; no timing if `runs` is 0."""
    backbone = build(family, size, out_features=MAPS)
    image = torch.zeros(1, 3, CROP, CROP)
    facts = FACTS[family]
    with torch.no_grad():
        return Row(
            family=family,
            size=size,
            parameters=sum(parameter.numel() for parameter in backbone.parameters()) / 1e6,
            gflops=count_gflops(backbone, image),
            milliseconds=median_milliseconds(lambda: backbone(image), runs) if runs else None,
            imagenet=facts.of(size).imagenet,
            ade20k=facts.of(size).ade20k,
            licence=facts.licence,
        )


def markdown(rows: Sequence[Row]) -> str:
    """Lay out rows as a table, with the sources of the published numbers below it."""
    cells = [
        {
            "backbone": f"{row.family} {row.size}",
            "parameters, M": f"{row.parameters:.1f}",
            "GFLOPs": f"{row.gflops:.1f}",
            "ms per crop": "-" if row.milliseconds is None else f"{row.milliseconds:.0f}",
            "ImageNet top-1, %": row.imagenet,
            "ADE20K mIoU, %": row.ade20k,
            "licence of the weights": row.licence,
        }
        for row in rows
    ]
    align = ("left", "right", "right", "right", "left", "left", "left")
    table = tabulate(cells, headers="keys", tablefmt="pipe", disable_numparse=True, colalign=align)
    families = dict.fromkeys(row.family for row in rows)
    sources = [f"- {name} (arXiv {FACTS[name].paper}): {FACTS[name].source}" for name in families]
    return "\n".join(
        [
            table,
            "",
            f"Cost is of the maps {', '.join(MAPS)} of one {CROP} x {CROP} crop; a GFLOP is a billion multiply-adds.",
            "Accuracies are the authors' own:",
            "",
            *sources,
            "",
        ]
    )


@errors_in_one_line("catseg.tools.backbone_table", interrupted="interrupted")
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, and write it as JSON if asked to."""
    args = _parse(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    torch.set_num_threads(args.threads)
    rows = list(_rows(args.families, runs=0 if args.no_timing else args.runs))
    sys.stdout.write(markdown(rows))
    if args.json is not None:
        write_json(args.json, [asdict(row) for row in rows])


def _rows(families: Sequence[str], *, runs: int) -> Iterator[Row]:
    variants = [(family, size) for family in families for size in all_sizes()[family]]
    with tqdm(variants, unit="backbone") as progress:
        for family, size in progress:
            progress.set_description(f"{family} {size}")
            yield describe(family, size, runs=runs)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m catseg.tools.backbone_table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = list(all_sizes())
    parser.add_argument("--families", nargs="+", choices=known, default=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--no-timing", action="store_true", help="leave the times out")
    parser.add_argument("--runs", type=positive, default=5, help="timed runs per backbone (default: %(default)s)")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--json", type=file_path, metavar="FILE", help="write the rows to FILE too")
    add_debug_option(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
