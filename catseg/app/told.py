"""What callers are told of errors: messages that were written for them, and never a path or a traceback."""

import logging
import secrets

import gradio as gr

from catseg.errors import UserError

logger = logging.getLogger(__name__)


def told(error: BaseException) -> str:
    """Return what a caller is told of an error. What is not theirs to mend goes into the log, and they get its number.

    `OSError` is not: it names files of this machine.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, gr.Error):
        return error.message
    number = secrets.token_hex(4)
    logger.error("error %s", number, exc_info=error)
    return f"something went wrong here; whoever runs this server finds it in the log as {number}"


def for_client(error: BaseException) -> gr.Error:
    """Return the error that Gradio hands on to a client of the API."""
    return gr.Error(told(error), print_exception=False)
