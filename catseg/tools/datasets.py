"""Show the benchmarks' data sets: which are there, what is missing, and which commands come next.

    python -m catseg.tools.datasets status
    python -m catseg.tools.datasets status --verify voc_2012_test_sem_seg
    python -m catseg.tools.datasets list

`list` needs no files. `status` counts files; `--verify` also compares them with the checksums that preparation wrote,
and then the exit status is 1 if some differ. Missing data are no error: the exit status is 0 then.
"""

import argparse
import sys
from collections.abc import Sequence

from catseg.arguments import file_path, positive
from catseg.console import add_debug_option, errors_in_one_line
from catseg.data.dataset_specs import BENCHMARKS, datasets_root
from catseg.data.preparation.status import dataset_table, next_steps, status_of, status_table, verify

_WORKERS = 4  # threads that read files for their checksums


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m catseg.tools.datasets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    names = [spec.name for spec in BENCHMARKS]
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("names", nargs="*", metavar="NAME", help="a registered name; default: all benchmarks")
    commands.add_parser("list", parents=[common], help="names, classes and folders")
    status = commands.add_parser("status", parents=[common], help="what is there, what is missing, what comes next")
    status.add_argument(
        "--root", type=file_path, help="folder of all data sets; default: $DETECTRON2_DATASETS, or else datasets"
    )
    status.add_argument("--verify", action="store_true", help="compare all files with their checksums")
    status.add_argument("--workers", type=positive, default=_WORKERS, help="threads for --verify; default: %(default)s")
    add_debug_option(parser)
    args = parser.parse_args(arguments)
    unknown = [name for name in args.names if name not in names]
    if unknown:
        parser.error(f"no data set is called {unknown[0]!r}; there are {', '.join(names)}")
    return args


@errors_in_one_line("catseg.tools.datasets", interrupted="interrupted")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the exit status."""
    args = parse_arguments(arguments)
    specs = [spec for spec in BENCHMARKS if not args.names or spec.name in args.names]
    if args.command == "list":
        sys.stdout.write(f"{dataset_table(specs)}\n")
        return 0
    root = datasets_root(args.root)
    statuses = [status_of(spec, root) for spec in specs]
    sys.stdout.write(f"Data sets in {root.absolute()}\n\n{status_table(statuses)}\n")
    steps = next_steps(statuses, root)
    if steps:
        sys.stdout.write(f"\nWhat comes next, from the top folder of catseg:\n\n{steps}\n")
    damaged = verify(specs, root, workers=args.workers) if args.verify else []
    sys.stdout.writelines(f"\n{line}\n" for line in damaged)
    return 1 if damaged else 0


if __name__ == "__main__":
    sys.exit(main())
