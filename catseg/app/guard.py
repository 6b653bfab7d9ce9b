"""What stands before Gradio: requests that are too large, or that the app has no use for, end here."""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio keeps a copy of a session for whoever has a link, fetches addresses for callers, and has tools for developers.
_CLOSED = re.compile(
    r"/gradio_api/(deep_link|proxy=|file=https?:|file/https?:|process_recording|vibe-|undo-vibe|component_server|dev/)"
    r"|/monitoring"
)
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "SAMEORIGIN"}


class Guard:
    """Refuses some requests.

    Args:
        app: what the others go to.
        limit: bytes of a request's body.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if _CLOSED.match(scope["path"]):
            return PlainTextResponse("There is no such page here.", 404)
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            return None
        length = Headers(scope=scope).get("content-length", "")
        if not length.isdecimal():
            return PlainTextResponse("The request must say how long it is: Content-Length.", 411)
        if int(length) > self._limit:
            return PlainTextResponse(
                f"The request has {int(length) / 1e6:.1f} MB, this server takes {self._limit / 1e6:.1f}.", 413
            )
        return None
