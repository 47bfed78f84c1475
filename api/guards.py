"""What is decided about a request before its body is read: who sends it, whether it may, how large it is, its id."""

from __future__ import annotations

import logging
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.authentication import Authenticator
from api.body_limits import body_limit, bounded
from api.errors import UNEXPECTED, response_of
from api.permissions import OPEN_PATHS, ForbiddenScopeError, methods_of, scope_of
from api.rate_limits import Budget, Limits
from rag.access import Caller
from rag.errors import QuothError
from rag.settings import ServerSettings

logger = logging.getLogger(__name__)

MAX_HEADER_BYTES = 32_768
# Less of a body that nobody wants is read and thrown away, so that the connection can be used again.
MAX_UNREAD_BYTES = 65_536
# What writes an answer takes a slot. Where there is none its body is not read.
ANSWERING = frozenset({"/v1/chat/completions", "/v1/responses"})


class Guard:
    """Pure ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._authenticator = Authenticator(settings)
        self._limits = Limits.of(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            refusal = await self._refusal(scope)
            if refusal:
                await refusal(scope, exchange.receive, exchange.send)
                return
            limit = body_limit(scope["path"], scope["method"], self._settings)
            await self._app(scope, bounded(exchange.receive, limit), exchange.send)
        except (QuothError, HTTPException) as error:
            if exchange.is_answered:
                raise
            await response_of(error)(scope, exchange.receive, exchange.send)
        except Exception as error:
            # The edge of a request: its answer must name its id, which nobody outside of here knows.
            if exchange.is_answered:
                raise
            logger.exception("a request failed", extra={"request_id": exchange.request_id}, exc_info=error)
            await JSONResponse(UNEXPECTED, 500)(scope, exchange.receive, exchange.send)

    async def _refusal(self, scope: Scope) -> Response | None:
        try:
            _check_size(scope)
            if scope["path"] not in OPEN_PATHS:
                await self._admit(scope)
            _check_length(Headers(scope=scope), body_limit(scope["path"], scope["method"], self._settings))
        except (QuothError, HTTPException) as error:
            return response_of(error)
        return None

    async def _admit(self, scope: Scope) -> None:
        caller = await self._authenticator.caller(scope, scope["app"].state.live.engine.keys)
        scope["state"]["caller"] = caller
        _authorise(caller, scope["method"], scope["path"])
        budget = scope["state"]["budget"] = Budget(self._limits, caller.key_id)
        budget.admit()
        if scope["path"] in ANSWERING and scope["method"] == "POST":
            scope["app"].state.answers.require_room(caller.key_id)


def _authorise(caller: Caller, method: str, path: str) -> None:
    needed = scope_of(method, path)
    if needed is None and not caller.may("admin"):
        allowed = methods_of(path)
        if allowed:
            raise HTTPException(405, "Method Not Allowed", {"Allow": ", ".join(allowed)})
        raise HTTPException(404, "Not Found")
    if needed is not None and not caller.may(needed):
        raise ForbiddenScopeError(caller.scope, needed)


def _check_size(scope: Scope) -> None:
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size + len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_HEADER_BYTES:
        raise HTTPException(431, f"The headers and the address are longer than {MAX_HEADER_BYTES} bytes together.")


def _check_length(headers: Headers, limit: int) -> None:
    given = headers.getlist("content-length")
    if not given:
        return
    # Python reads other digits than ASCII's, and signs, as numbers, too.
    if len(given) > 1 or not (given[0].isascii() and given[0].isdigit()):
        raise HTTPException(400, "Content-Length is not one number.")
    if len(given[0]) > 18 or int(given[0]) > limit:
        raise HTTPException(413, f"The body is larger than {limit} bytes.")


class _Exchange:
    """One request and its response: what of the body has come, and what every response carries."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.request_id = f"req_{secrets.token_hex(12)}"
        self.is_answered = False
        self._receive = receive
        self._send = send
        self._state = scope.setdefault("state", {})
        self._state.update(request_id=self.request_id, caller=None, budget=None)
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        is_short = length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= MAX_UNREAD_BYTES
        self._is_long = "transfer-encoding" in headers or not is_short
        self._is_whole = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._is_whole = self._is_whole or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_answered = True
            headers = MutableHeaders(raw=message["headers"])
            headers["x-request-id"] = self.request_id
            headers["x-content-type-options"] = "nosniff"
            for name, value in self._state["budget"].headers() if self._state["budget"] else ():
                headers[name] = value
            if message["status"] >= 400 and self._is_long and not self._is_whole:
                headers["connection"] = "close"
        await self._send(message)
