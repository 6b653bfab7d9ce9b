"""What commands show of errors: one line of those that the user can mend, the traceback of all others.

`CATSEG_DEBUG=1` in the environment, or `--debug`, shows every traceback. The log file of a run holds them all.
"""

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from catseg.errors import InputError, UserError

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it
_WRONG_USE = (InputError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)

logger = logging.getLogger(__name__)


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """Add `--debug` to a command."""
    parser.add_argument(
        "--debug", action=_Debug, nargs=0, help="show the traceback of every error, as CATSEG_DEBUG=1 does"
    )


class _Debug(argparse.Action):
    def __call__(self, *_: Any) -> None:
        os.environ["CATSEG_DEBUG"] = "1"  # for the processes that the command starts, too


def debugging() -> bool:
    """Tell whether every error is to be shown with its traceback."""
    return os.environ.get("CATSEG_DEBUG", "0") not in ("", "0")


def one_line(error: BaseException) -> str | None:
    """Return the message of an error that the user can mend, None of any other.

    The workers of a data loader hand errors on with their traceback as text; of these it is the message alone.
    """
    if not isinstance(error, UserError | OSError) or isinstance(error, ConnectionError):
        return None
    kind, message = type(error), str(error)
    if message.startswith(f"Caught {kind.__name__} in "):
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        message = message.rpartition(f"\n{name}: ")[2].rstrip()
    return message


def shows_traceback(error: BaseException) -> bool:
    """Tell whether to show an error with its traceback: for commands that go on after it."""
    return debugging() or one_line(error) is None


@contextmanager
def errors_in_one_line(command: str, *, interrupted: str | None = None, wrong_use: int | None = None) -> Iterator[None]:
    """Show errors inside the block as this module says, and leave the process with status 1.

    Args:
        command: name of the command, which the line begins with.
        interrupted: what to say after Ctrl-C, which leaves the process with status 130; None leaves it to the caller.
        wrong_use: the status instead, after values that cannot be used and files that are not there; None for 1.

    Raises:
        SystemExit: for errors that the user can mend, unless every traceback is asked for, and after Ctrl-C.
        Exception: any other error of the block.
    """
    try:
        yield
    except KeyboardInterrupt:
        if interrupted is None:
            raise
        sys.stderr.write(f"{command}: {interrupted}\n")
        sys.exit(INTERRUPTED)
    except Exception as error:
        _log_to_file(error)
        if shows_traceback(error):
            raise
        if wrong_use is None or not isinstance(error, _WRONG_USE):
            sys.exit(f"{command}: {one_line(error)}")
        sys.stderr.write(f"{command}: {one_line(error)}\n")
        sys.exit(wrong_use)


class _NoUserTracebacks(logging.Filter):
    """Keeps records with the traceback of an error that the user can mend, which Detectron2 logs, off the console."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return error is None or shows_traceback(error)


_CONSOLE = _NoUserTracebacks()


def quieten_console(names: Iterable[str]) -> None:
    """Leave tracebacks to the log file: of the handlers of these loggers, the one of standard output shows none."""
    for handler in (handler for name in names for handler in logging.getLogger(name).handlers):
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.addFilter(_CONSOLE)


def _log_to_file(error: Exception) -> None:
    details = (type(error), error, error.__traceback__)
    record = logger.makeRecord(logger.name, logging.ERROR, __file__, 0, "The run ended:", (), details)
    for handler in logging.getLogger("catseg").handlers:
        if _CONSOLE not in handler.filters:
            handler.handle(record)
