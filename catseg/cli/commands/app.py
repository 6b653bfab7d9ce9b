"""Serve a page, and an HTTP API, on which people name things and see which pixel is which."""

import argparse
import importlib.util
import logging
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catseg.arguments import positive
from catseg.cli.settings import DEVICE, HELP, MODEL, Setting, add_settings, apply_settings
from catseg.errors import InputError, RunError

if TYPE_CHECKING:
    from catseg.app.server import Access
    from catseg.app.service import Service

DEFAULT_MODEL = "v2-base"
NO_USERS = "none"
AUTH_VARIABLE = "CATSEG_AUTH"

EPILOG = f"""\
examples:
  catseg app --model shapes                     # the model of `catseg demo`, which needs no download
  catseg app --models v2-large,shapes --device cuda
  catseg app --host 0.0.0.0 --auth users.txt    # a line NAME:PASSWORD for each user

The page is at http://127.0.0.1:7860 unless --port says otherwise; GET /health tells programs that it is there, and
docs/app.md describes the API. Only this machine can reach it: --host and --share open it to others, and then ask for
--auth. Images stay in memory, their files are deleted when they are read, and nobody sees those of others.

{HELP}
exit status: 0 ended by Ctrl-C, 1 it could not start, 2 wrong use
"""

SETTINGS = (Setting(MODEL.name, MODEL.help, DEFAULT_MODEL, short=MODEL.short), DEVICE)

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_settings(parser, SETTINGS)
    parser.add_argument(
        "--models",
        metavar="NAMES",
        help="further models to choose from, with commas between; default: all that have a name, for this machine "
        "alone, and none for others",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=positive, metavar="N", help="default: the first free one from 7860 on")
    parser.add_argument("--share", action="store_true", help="make a public link through Gradio's servers")
    parser.add_argument(
        "--auth",
        metavar="NAME:PASSWORD",
        help=f"who may use it; or a file with a line for each user; or {NO_USERS}, for everyone (default: "
        f"${AUTH_VARIABLE})",
    )
    limits = parser.add_argument_group("limits of a request")
    limits.add_argument("--max-megabytes", type=positive, default=20, metavar="N", help="of a file (default: 20)")
    limits.add_argument("--max-megapixels", type=positive, default=25, metavar="N", help="of an image (default: 25)")
    limits.add_argument("--max-names", type=positive, default=1000, metavar="N", help="default: 1000")
    limits.add_argument("--max-seconds", type=positive, default=120, metavar="N", help="default: 120")
    limits.add_argument("--max-waiting", type=positive, default=20, metavar="N", help="requests (default: 20)")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; return 0."""
    apply_settings("app", args, SETTINGS)
    if importlib.util.find_spec("gradio") is None:
        raise RunError('needs the package gradio: pip install "catseg[app]"')
    access = _access(args)

    from catseg.app.server import serving

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, so that nothing stays behind
    service = _service(args, access)
    with serving(service, access) as (local, public):
        logger.info("%s", access.describe())
        logger.info("catseg app is at %s%s; Ctrl-C ends it", local, f" and {public}" if public else "")
        try:
            while True:
                time.sleep(60)
                service.sessions.forget_idle()
        except KeyboardInterrupt:
            logger.info("ended")
    return 0


def _access(args: argparse.Namespace) -> "Access":
    from catseg.app.server import Access

    access = Access(args.host, args.port, args.share, read_users(args.auth or os.environ.get(AUTH_VARIABLE, "")))
    if not access.is_local and not access.users and args.auth != NO_USERS:
        raise InputError(
            f"{'--share' if args.share else f'--host {args.host}'} lets others in: say who by --auth NAME:PASSWORD, or "
            f"--auth FILE with a line for each user, or --auth {NO_USERS} for everyone"
        )
    return access


def _service(args: argparse.Namespace, access: "Access") -> "Service":
    import catseg
    from catseg.app.limits import Limits
    from catseg.app.service import Service
    from catseg.app.shelf import Shelf

    named = [model.name for model in catseg.models()] if access.is_local else []
    further = named if args.models is None else [word.strip() for word in args.models.split(",") if word.strip()]
    shelf = Shelf([args.model, *further], device=args.device)
    limits = Limits(
        megabytes=args.max_megabytes,
        megapixels=args.max_megapixels,
        names=args.max_names,
        seconds=args.max_seconds,
        queue=args.max_waiting,
    )
    logger.info("loading the model %s", shelf.default_model)
    shelf.load_default()
    return Service(shelf, limits)


def read_users(text: str) -> Sequence[tuple[str, str]]:
    """Read names and passwords.

    Args:
        text: NAME:PASSWORD, a file with a line of that for each user, "none" or "".

    Raises:
        ValueError: if it is none of these; the message repeats no password.
        OSError: if the file cannot be read.
    """
    if text in ("", NO_USERS):
        return ()
    path = Path(text).expanduser()
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else [text]
    where = f"{path}" if path.is_file() else "--auth"
    users = [line.strip().partition(":") for line in lines if line.strip()]
    if not users or not all(name and password for name, _, password in users):
        raise InputError(f"{where} must be NAME:PASSWORD, or a file with such lines")
    return [(name, password) for name, _, password in users]
