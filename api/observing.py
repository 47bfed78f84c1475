"""The middleware that sees every request to its end, and tells metrics, log and traces of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable

from starlette.requests import ClientDisconnect
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.observation import Observation
from api.tracing import Tracing
from rag.telemetry import observed_by

logger = logging.getLogger("api.requests")

_STORES_SHOWN = 8


class Observed:
    """Pure ASGI middleware, around all others."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and tell of it when it has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = Observation(scope["method"])
        started = time.perf_counter()
        is_open = False

        def watched(message: Message) -> Awaitable[None]:
            nonlocal is_open
            if message["type"] == "http.response.start":
                seen.status, is_open = message["status"], True
            elif not message.get("more_body", False):
                is_open = False
            return send(message)

        try:
            with observed_by(seen):
                await self._app(scope, receive, watched)
        except ClientDisconnect:
            pass  # before its request was whole; nobody reads an answer
        except Exception as error:
            # The guard answers what fails before a response begins. Behind that, its end stays away, for which the
            # server closes the connection.
            logger.error("a response broke off", exc_info=error, extra={"fields": {"request_id": _id(scope)}})
        finally:
            seen.seconds = time.perf_counter() - started
            seen.is_cut = is_open
            self._tell(scope, seen)

    def _tell(self, scope: Scope, seen: Observation) -> None:
        seen.route = template_of(scope)
        seen.request_id = _id(scope)
        caller = scope.get("state", {}).get("caller")
        seen.key_id = caller.key_id if caller else ""
        self._metrics.add(seen)
        if self._tracing:
            self._tracing.export(seen, scope["headers"])
        if logger.isEnabledFor(logging.INFO):
            logger.info("request", extra={"fields": _fields(seen)})


def template_of(scope: Scope) -> str:
    """The route that answered, as it was declared; all below a mounted application is one."""
    route = scope.get("route")
    template = getattr(route, "path", None)
    if isinstance(route, Mount):
        template = route.path or "/"
    return template if isinstance(template, str) else "none"


def _id(scope: Scope) -> str:
    return str(scope.get("state", {}).get("request_id", ""))


def _fields(seen: Observation) -> dict[str, object]:
    return {
        "request_id": seen.request_id, "method": seen.method if seen.method.isalpha() else "other", "route": seen.route,
        "status": seen.status, "ms": round(seen.seconds * 1000, 1), "key_id": seen.key_id or None,
        "stores": ",".join(seen.store_ids[:_STORES_SHOWN]) or None, "answer": ",".join(seen.outcomes) or None,
        "prompt_tokens": seen.prompt_tokens or None, "completion_tokens": seen.completion_tokens or None,
        "cut": seen.is_cut or None,
    }  # fmt: skip
