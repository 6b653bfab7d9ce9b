"""Generate data, train a small CLIP and CAT-Seg on it, evaluate, and keep the model that is called shapes.

It takes about 10 minutes on two processor cores, and downloads nothing.
"""

import argparse
from pathlib import Path

from catseg.arguments import file_path

EPILOG = """\
examples:
  catseg demo
  catseg demo --output /tmp/shapes --short       # one run, too short for good numbers
  catseg segment /tmp/shapes/datasets/shapes/images/unseen_test "blue patch, sand, night sky" -o out/ --model shapes

exit status: 0 if CAT-Seg beats the raw cost volume on classes that it never saw, 1 if not
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        *("-o", "--output"), type=file_path, default=Path("output/shapes"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--short", action="store_true", help="one short run, to see that everything works")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="two runs for each (default: 0)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the steps of both trainings (default: 1)")


def run(args: argparse.Namespace) -> int:
    """Run the demo; return its exit status."""
    from catseg.shapes.demo import demo, parse_arguments, run_as_command

    words = ["--output", str(args.output), "--scale", str(args.scale), "--seeds", *map(str, args.seeds)]
    parsed = parse_arguments([*words, *["--short"] * args.short])
    run_as_command("catseg demo", lambda: demo(parsed))
