"""Print a script that makes a shell complete `catseg`, its commands and options."""

import argparse
import sys

from catseg.errors import RunError

SHELLS = ("bash", "zsh", "tcsh")
EPILOG = """\
examples:
  catseg completion bash > ~/.local/share/bash-completion/completions/catseg
  catseg completion zsh > ~/.zfunc/_catseg        # a folder of $fpath
  catseg completion tcsh > ~/.catseg.completion.csh
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("shell", choices=SHELLS)


def run(args: argparse.Namespace) -> int:
    """Print the script; return 0."""
    try:
        import shtab
    except ImportError as error:
        raise RunError("completion needs the package shtab: pip install shtab") from error

    from catseg.cli.main import COMMANDS, root_parser

    sys.stdout.write(shtab.complete(root_parser(COMMANDS), shell=args.shell) + "\n")
    return 0
