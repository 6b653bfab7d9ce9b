"""The checkpoints that the authors of CAT-Seg publish: what there is, and downloading it ahead of time.

    python -m catseg.tools.weights list
    python -m catseg.tools.weights fetch v2-large

`MODEL.WEIGHTS catseg://v2-large` downloads what it names by itself; `fetch` is for machines that go offline later. It
takes any name that MODEL.WEIGHTS takes. Files are kept in $CATSEG_CACHE/weights, by default ~/.cache/catseg/weights.
"""

import argparse
import logging
import sys
import traceback
from collections.abc import Sequence

from tabulate import tabulate

from catseg.checkpoint.hub import fetch_from_hub, kept_commit
from catseg.checkpoint.sources import PUBLISHED, PUBLISHED_SCHEME, hub_file
from catseg.console import add_debug_option, errors_in_one_line, shows_traceback
from catseg.errors import InputError


@errors_in_one_line("catseg.tools.weights", interrupted="interrupted")
def main(argv: Sequence[str] | None = None) -> int:
    """List or fetch, as the command line says.

    Returns:
        The exit status: 0, or 1 if a file cannot be had.
    """
    parser = argparse.ArgumentParser(
        prog="python -m catseg.tools.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show all published checkpoints, and the commits of those that are here")
    fetch = commands.add_parser("fetch", help="download, check and convert checkpoints, and print where they are")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="as `list` shows it, or hf://OWNER/REPO/FILE")
    fetch.add_argument("--renew", action="store_true", help="ask the hub for its newest revision, even of what is here")
    add_debug_option(parser)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    if args.command == "list":
        sys.stdout.write(table())
        return 0
    return _fetch(args.names, renew=args.renew)


def table() -> str:
    """Return the published checkpoints as a table, a line each."""
    rows = [
        [f"{PUBLISHED_SCHEME}{name}", f"configs/{model.config}", model.source, kept_commit(model.source) or "no"]
        for name, model in PUBLISHED.items()
    ]
    return tabulate(rows, headers=["MODEL.WEIGHTS", "config", "file", "here"], tablefmt="plain") + "\n"


def _fetch(names: Sequence[str], *, renew: bool) -> int:
    status = 0
    for name in names:
        try:
            source = hub_file(name if "://" in name else f"{PUBLISHED_SCHEME}{name}")
            if source is None:
                raise InputError(f"{name} is no file on the Hugging Face hub: give it as MODEL.WEIGHTS as it is")
            sys.stdout.write(f"{fetch_from_hub(source, renew=renew)}\n")
        except Exception as error:  # whatever it is, the others are fetched
            sys.stderr.write(f"{error}\n")
            if shows_traceback(error):
                traceback.print_exception(error)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
