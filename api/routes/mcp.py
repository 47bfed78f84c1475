"""POST /mcp: the Model Context Protocol over streamable HTTP."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from api.authentication import LOOPBACK_NAMES
from api.dependencies import BudgetDep, CallerDep, LiveDep
from api.drain import ShuttingDownError, drain_of
from api.errors import response_of
from api.mcp.session import Session
from rag.concurrency import in_thread

router = APIRouter()

CLIENT_CLOSED_REQUEST = 499
SESSION = "mcp-session-id"


@router.post("/mcp", include_in_schema=False)
async def exchange(request: Request, live: LiveDep, caller: CallerDep, budget: BudgetDep) -> Response:
    """One message of a client, and what is answered to it. Its shapes are the protocol's and not OpenAPI's."""
    origin = request.headers.get("origin")
    if origin is not None and not _is_same_place(origin, request.headers.get("host", "")):
        raise HTTPException(403, "Web pages of other origins may not use the tools.")
    try:
        body = await request.body()
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    state = request.app.state
    return _Exchange(Session(live, caller, state.answers, state.searches, budget), body)


class _Exchange(Response):
    """Hands a request on to the `mcp` package, and breaks it off when the server ends or its client gives it up.

    Clients of protocol versions before 2026-07-28 give a call up by a message of its own, which finds the call by the
    session that we named to the client: a name only, with nothing behind it, so that any process can answer it.
    """

    def __init__(self, session: Session, body: bytes) -> None:
        super().__init__()
        self._session = session
        self._body: bytes | None = body
        self._message = _read(body)
        self._is_given_up = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serve_exchange = await in_thread(_serve_exchange)
        answer = _Answer(send, names_session=self._message.get("method") == "initialize")
        working = asyncio.ensure_future(serve_exchange(self._session, scope, self._again(receive), answer.send))

        def cut() -> None:
            working.cancel()

        def give_up() -> None:
            self._is_given_up = True
            cut()

        with drain_of(scope).telling(cut), self._listed(Headers(scope=scope), give_up):
            try:
                await asyncio.wait({working})
            finally:
                if not working.done():
                    cut()
                    with suppress(asyncio.CancelledError):
                        await working
        if not working.cancelled():
            working.result()
        elif self._is_given_up:
            await answer.end()
        elif not answer.is_started:
            await response_of(ShuttingDownError())(scope, receive, send)

    def _again(self, receive: Receive) -> Receive:
        async def again() -> Message:
            if self._body is None:
                return await receive()
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}

        return again

    @contextmanager
    def _listed(self, headers: Headers, give_up: Callable[[], None]) -> Iterator[None]:
        """Let this request be given up by another, or give up the one that it names."""
        session, calls = headers.get(SESSION, ""), self._session.live.tool_calls
        owner = self._session.caller.key_id
        if self._message.get("method") == "notifications/cancelled":
            params = self._message.get("params")
            named = json.dumps(params.get("requestId")) if isinstance(params, dict) else ""
            calls.get((owner, session, named), _nothing)()
        name = (owner, session, json.dumps(self._message.get("id")))
        is_listed = bool(session) and "id" in self._message and name not in calls
        if is_listed:
            calls[name] = give_up
        try:
            yield
        finally:
            if is_listed:
                del calls[name]


class _Answer:
    """The response as far as it has gone out."""

    def __init__(self, send: Send, *, names_session: bool) -> None:
        self._send = send
        self._names_session = names_session
        self.is_started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_started = True
            if self._names_session and message["status"] == 200:
                MutableHeaders(raw=message["headers"])[SESSION] = secrets.token_hex(16)
        await self._send(message)

    async def end(self) -> None:
        """End it without the result that nobody waits for."""
        if not self.is_started:
            headers = [(b"content-type", b"text/event-stream")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _read(body: bytes) -> dict[str, Any]:
    """The message, as far as it is one; what is wrong with it is told by the package."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _nothing() -> None:
    """Nobody is to be told."""


def _serve_exchange() -> Callable[[Session, Scope, Receive, Send], Awaitable[None]]:
    """Imported by the first request, and beside all others: it takes most of a second."""
    from api.mcp.streamable_http import serve_exchange

    return serve_exchange


def _is_same_place(origin: str, host: str) -> bool:
    """Whether a page comes from the host that it calls, or both are this machine."""
    try:
        place = urlsplit(origin)
        name = f"[{place.hostname}]" if ":" in (place.hostname or "") else place.hostname
    except ValueError:
        return False
    called = host if host.endswith("]") else host.rsplit(":", 1)[0]
    return place.netloc == host or (name in LOOPBACK_NAMES and called in LOOPBACK_NAMES)
