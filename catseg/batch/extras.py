"""Packages that only this part of catseg needs, and what to install where they are missing."""

from importlib import import_module
from types import ModuleType

from catseg.errors import RunError


def optional_module(name: str, *, extra: str, what: str) -> ModuleType:
    """Import a module of an optional package.

    Args:
        name: of the module.
        extra: of catseg that brings the package.
        what: needs it, for the message.

    Raises:
        RuntimeError: if it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise RunError(f'{what} needs {name}: pip install "catseg[{extra}]"') from error
