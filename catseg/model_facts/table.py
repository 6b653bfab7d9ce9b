"""The table of this project's backbones: what each costs, and what its authors published."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tabulate import tabulate

from catseg.model_facts.backbones import FACTS
from catseg.model_facts.cost import build, count_gflops, median_milliseconds

CROP = 384
MAPS = ("res2", "res3", "res4")


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
