"""The command `catseg`: finds the sub-command, reads its arguments and runs it."""

import argparse
import difflib
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from types import ModuleType

from catseg import __version__
from catseg.console import add_debug_option, errors_in_one_line

WRONG_USE = 2
PACKAGE = "catseg.cli.commands"
COMMANDS = {
    "segment": "segment images and videos into any classes that are named",
    "app": "serve a page on which people name things and see them",
    "train": "train a model on data of your own",
    "eval": "evaluate a model on data sets",
    "data": "check and convert data sets, show which benchmarks are here",
    "models": "list the models that have a name",
    "doctor": "check the installation, and say how to mend it",
    "demo": "train and evaluate on generated data; makes the model 'shapes'",
    "completion": "print what makes a shell complete this command",
}

_EPILOG = """\
examples:
  catseg segment photos/ "sofa, night sky, cat | kitten" -o out/
  catseg segment --help

exit status: 0 all done, 1 some inputs failed, 2 wrong use, 130 interrupted with Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line, by default this process's.

    Returns:
        The exit status: 0 if all is done, 1 if some of it is not.

    Raises:
        SystemExit: with status 2 after wrong use, 130 after Ctrl-C, 0 after `--help`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words[0] if words else "--help"
    if name not in COMMANDS:
        parser = root_parser(())
        if name.startswith("-"):
            parser.parse_args([name])
        parser.error(f"no command is called {name!r}{_suggestion(name)}")
    command = import_command(name)
    parser = command_parser(name, command)
    # Several positional arguments may have options between them, which argparse allows where there are no actions.
    args = parser.parse_intermixed_args(words[1:]) if name == "segment" else parser.parse_args(words[1:])
    _start_logging(verbose=getattr(args, "verbose", False))
    with errors_in_one_line(f"catseg {name}", interrupted="interrupted", wrong_use=WRONG_USE):
        return _without_broken_pipe(command, args)


def root_parser(loaded: Iterable[str]) -> argparse.ArgumentParser:
    """Build the parser of the whole command.

    Args:
        loaded: the sub-commands whose arguments it knows; of the others it knows the name.
    """
    parser = argparse.ArgumentParser(
        prog="catseg",
        description="Open-vocabulary semantic segmentation: name things, and get which pixel is which.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"catseg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        below = commands.add_parser(name, help=summary, description=summary)
        if name in loaded:
            import_command(name).add_arguments(below)
            add_debug_option(below)
    return parser


def command_parser(name: str, command: ModuleType) -> argparse.ArgumentParser:
    """Build the parser of a sub-command, which takes options and positional words in any order."""
    parser = argparse.ArgumentParser(
        prog=f"catseg {name}",
        description=command.__doc__,
        epilog=command.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    add_debug_option(parser)
    return parser


def import_command(name: str) -> ModuleType:
    """Return the module of a sub-command."""
    return import_module(f"{PACKAGE}.{name}")


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, COMMANDS)
    return f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(COMMANDS)}"


def _start_logging(*, verbose: bool) -> None:
    """Show what commands say and warnings of all, on standard error; with `verbose`, what the package logs, too."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("catseg" if verbose else "catseg.cli").setLevel(logging.INFO)


def _without_broken_pipe(command: ModuleType, args: argparse.Namespace) -> int:
    """Run a command, and end quietly where its reader, such as `head`, has had enough."""
    try:
        status = command.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it at exit
        return 1
    return status
