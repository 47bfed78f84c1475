"""POST /mcp: the Model Context Protocol over streamable HTTP."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from api.dependencies import CallerDep, Live, LiveDep
from api.drain import ShuttingDownError, drain_of
from api.errors import response_of
from api.guards import LOOPBACK_NAMES
from rag.access import Caller

router = APIRouter()

CLIENT_CLOSED_REQUEST = 499


@router.post("/mcp", include_in_schema=False)
async def exchange(request: Request, live: LiveDep, caller: CallerDep) -> Response:
    """One message of a client, and what is answered to it. Its shapes are the protocol's and not OpenAPI's."""
    origin = request.headers.get("origin")
    if origin is not None and not _is_same_place(origin, request.headers.get("host", "")):
        raise HTTPException(403, "Web pages of other origins may not use the tools.")
    try:
        body = await request.body()
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return _Exchange(live, caller, body)


class _Exchange(Response):
    """Hands a request on to the `mcp` package, and breaks it off when the server ends."""

    def __init__(self, live: Live, caller: Caller, body: bytes) -> None:
        super().__init__()
        self._live = live
        self._caller = caller
        self._body: bytes | None = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Imported by whoever needs it first: it takes most of a second.
        from api.mcp.streamable_http import serve_exchange

        is_started = False

        async def again() -> Message:
            if self._body is None:
                return await receive()
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}

        async def noted(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        drain = drain_of(scope)
        working = asyncio.ensure_future(serve_exchange(self._live, self._caller, scope, again, noted))

        def cut() -> None:
            working.cancel()

        with drain.telling(cut):
            try:
                await asyncio.wait({working})
            finally:
                if not working.done():
                    working.cancel()
                    with suppress(asyncio.CancelledError):
                        await working
        if working.cancelled() and not is_started:
            await response_of(ShuttingDownError())(scope, receive, send)
        elif not working.cancelled():
            working.result()


def _is_same_place(origin: str, host: str) -> bool:
    """Whether a page comes from the host that it calls, or both are this machine."""
    try:
        place = urlsplit(origin)
        name = f"[{place.hostname}]" if ":" in (place.hostname or "") else place.hostname
    except ValueError:
        return False
    called = host if host.endswith("]") else host.rsplit(":", 1)[0]
    return place.netloc == host or (name in LOOPBACK_NAMES and called in LOOPBACK_NAMES)
