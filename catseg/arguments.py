"""Types of command-line options, for `argparse`."""

import argparse
from contextlib import suppress
from pathlib import Path


def positive(text: str) -> int:
    """Read a whole number of at least 1.

    Raises:
        argparse.ArgumentTypeError: if it is something else; `argparse` prints it with the name of the option.
    """
    number = int(text) if text.strip().isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def share(text: str) -> float:
    """Read a probability or share, 0..1.

    Raises:
        argparse.ArgumentTypeError: if it is something else.
    """
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")


def file_path(text: str) -> Path:
    """Read a path whose leading ~, which shells leave in `--output=~/results`, is the home folder."""
    return Path(text).expanduser()
