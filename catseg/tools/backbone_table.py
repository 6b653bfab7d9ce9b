"""List this project's backbones: what each costs, and what its authors published.

    python -m catseg.tools.backbone_table --families VAN MPViT --threads 1

prints a Markdown table of every size: parameters, multiply-adds and time for one crop of 384 x 384 pixels, of the part
of the network that CAT-Seg uses (the maps `res2` to `res4`), with random weights; and published accuracies.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import torch
from tqdm import tqdm

from catseg.arguments import file_path, positive
from catseg.atomic import write_json
from catseg.console import add_debug_option, errors_in_one_line
from catseg.model_facts.cost import all_sizes
from catseg.model_facts.table import Row, describe, markdown


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
