"""What comes in while the server ends is refused at once."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from api.drain import Drain, ShuttingDownError
from api.errors import response_of

# What still answers: a supervisor asks whether the process lives, and how far it is.
OPEN_PATHS = frozenset({"/health/live", "/metrics"})


class Gate:
    """Pure ASGI middleware: answers 503 to what comes in while the server ends."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        is_refused = scope["type"] == "http" and self._drain.is_draining and scope["path"] not in OPEN_PATHS
        app = response_of(ShuttingDownError()) if is_refused else self._app
        await app(scope, receive, send)
