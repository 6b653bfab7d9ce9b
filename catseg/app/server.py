"""The server: the page and the API behind a guard, on this machine alone unless it is told otherwise."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from catseg import __version__
from catseg.app.endpoints import add_endpoints
from catseg.app.events import connect
from catseg.app.examples import drawn_examples
from catseg.app.guard import Guard
from catseg.app.handlers import Handlers
from catseg.app.page import TITLE, lay_out
from catseg.app.service import Service

LOOPBACK = ("127.0.0.1", "localhost", "::1")

_HOSTS = ["127.0.0.1", "localhost", "[::1]"]  # what browsers call a server on the same machine
_SWEEP, _STALE = 60, 300  # seconds: how often uploads that nobody used are looked for, and how old they are


@dataclass(frozen=True)
class Access:
    """Who can reach the server.

    Attributes:
        host: the address that it listens on.
        port: of it; None for the first free one from 7860 on.
        share: whether Gradio's public tunnel leads to it.
        users: names and passwords; () for everyone.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    users: Sequence[tuple[str, str]] = ()

    @property
    def is_local(self) -> bool:
        """Whether programs of this machine alone can reach it."""
        return self.host in LOOPBACK and not self.share

    def describe(self) -> str:
        """Say who can reach it."""
        who = "users with a password" if self.users else "everyone"
        if self.share:
            return f"--share is on: {who} who has the public link can use it; images pass through Gradio's servers."
        if self.is_local:
            return "Only this machine can reach it; --share, a public link, is off."
        return (
            f"It listens on {self.host}: {who} who can reach this machine can use it; --share, a public link, is off."
        )


def build(service: Service) -> gr.Blocks:
    """Put page and API together."""
    examples = drawn_examples()
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(_SWEEP, _STALE), fill_width=True) as blocks:
        page = lay_out(service, examples)
        connect(page, Handlers(page, service, examples), blocks)
        add_endpoints(service)
    blocks.queue(max_size=service.limits.queue, default_concurrency_limit=1, api_open=False)
    return blocks


@contextmanager
def serving(service: Service, access: Access) -> Iterator[tuple[str, str | None]]:
    """Serve while the block runs.

    Yields:
        The address on this machine, and the public one if there is one.

    Raises:
        OSError: if the port cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="catseg-app-") as folder:  # which nobody else can read
        os.environ["GRADIO_TEMP_DIR"] = folder
        blocks = build(service)
        try:
            _, local, public = blocks.launch(**_options(service, access, blocks))
            yield local, public
        finally:
            blocks.close(verbose=False)
            service.close()


def _options(service: Service, access: Access, blocks: gr.Blocks) -> dict[str, Any]:
    assets = files("catseg.app") / "assets"
    middleware = [Middleware(Guard, limit=service.limits.body_bytes)]
    if access.is_local:  # else a page elsewhere could have its own name lead here
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS))

    async def health(_: Any) -> JSONResponse:
        return JSONResponse(
            {
                "status": "ok",
                "version": __version__,
                "models": service.shelf.names_loaded,
                "waiting": len(blocks._queue),
            }
        )

    return {
        "server_name": access.host,
        "server_port": access.port,
        "share": access.share,
        "auth": list(access.users) or None,
        "auth_message": "This catseg app asks for a name and a password.",
        "prevent_thread_lock": True,
        "quiet": True,
        "show_error": False,
        "max_file_size": service.limits.file_bytes,
        "state_session_capacity": 4 * service.limits.sessions,
        "app_kwargs": {"routes": [Route("/health", health)], "middleware": middleware},
        "footer_links": ["api"],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "theme": _theme(),
        "css": (assets / "page.css").read_text(encoding="utf-8"),
        "head": f"<script>{(assets / 'page.js').read_text(encoding='utf-8')}</script>",
    }


def _theme() -> gr.themes.Base:
    """Colours whose texts can be read, and fonts that are there: nothing is fetched from elsewhere."""
    return gr.themes.Default(primary_hue="blue", font=("system-ui", "sans-serif"), font_mono=("monospace",)).set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )
