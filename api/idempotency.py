"""Idempotency-Key as Stripe defines it: a POST that is repeated with the same key has its effect once.

Every request that creates something goes through the middleware here, but for uploads: their route reads the body in
pieces, and compares what is in the form, since clients draw a new boundary each time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.dependencies import Live
from api.errors import UNEXPECTED, response_of
from api.whole_bodies import replaying, whole_body
from rag.access import Caller
from rag.concurrency import in_thread
from rag.errors import InvalidInputError, QuothError
from rag.ledger.idempotency import STALE_SECONDS, Claim, IdempotentRequests, KeptResponse

HEADER: Final = "idempotency-key"
REPLAYED: Final = "idempotent-replayed"
MAX_KEY_CHARACTERS: Final = 255
CLIENT_CLOSED_REQUEST: Final = 499
PREFIXES: Final = ("/v1/vector_stores", "/v1/chat/completions", "/v1/responses", "/v1/feedback")


class Idempotency:
    """Pure ASGI middleware; stands behind the guard, which knows the caller and bounds the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a repeated request as the first one was; keep what a first one is answered."""
        is_kept = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith(PREFIXES)
        if not is_kept or HEADER not in Headers(scope=scope):
            await self._app(scope, receive, send)
            return
        try:
            response = await self._once(scope, receive)
        except (QuothError, HTTPException) as error:
            response = response_of(error)
        await response(scope, receive, send)

    async def _once(self, scope: Scope, receive: Receive) -> Response:
        key = idempotency_key(Headers(scope=scope))
        assert key is not None  # noqa: S101
        body = await whole_body(receive)
        _refuse_stream(body)
        live: Live = scope["app"].state.live
        requests = live.engine.idempotency
        digest = digest_of(f"{scope['method']} {scope['path']}?{scope['query_string'].decode('latin-1')}", body)
        caller: Caller = scope["state"]["caller"]
        found = await in_thread(requests.begin, owner_of(caller.tenant, caller.key_id), key, digest)
        if isinstance(found, KeptResponse):
            return replayed(found)
        held = _HeldResponse()
        async with holding(requests, found):
            try:
                await self._app(scope, replaying(body, receive), held.send)
            except Exception:
                await in_thread(requests.finish, found, kept(JSONResponse(UNEXPECTED, 500)))
                raise
            if is_final(held.response.status_code):
                await in_thread(requests.finish, found, kept(held.response))
        return held.response


def idempotency_key(headers: Headers) -> str | None:
    """The key of a request, if it has one.

    Raises:
        InvalidInputError: it is empty, too long, comes twice, or has other characters than printable ASCII.
    """
    given = headers.getlist(HEADER)
    if not given:
        return None
    key = given[0]
    if len(given) > 1 or not 0 < len(key) <= MAX_KEY_CHARACTERS or not (key.isascii() and key.isprintable()):
        raise InvalidInputError(
            f"Send one Idempotency-Key of 1 to {MAX_KEY_CHARACTERS} printable ASCII characters, such as a UUID."
        )
    return key


def owner_of(tenant: str, key_id: str) -> str:
    """Whose Idempotency-Keys they are. No API key's id has a colon in it."""
    return f"{key_id}:{tenant}"


def digest_of(request: str, body: bytes) -> str:
    """Names a request and its parameters."""
    return hashlib.sha256(request.encode(errors="surrogatepass") + b"\0" + body).hexdigest()


def is_final(status: int) -> bool:
    """Whether a response is kept.

    A refusal (4xx) has had no effect, and 503 says that a repetition may succeed. Every other failure is kept, as
    Stripe does: how much of its effect it had is not known.
    """
    return status < 400 or (status >= 500 and status != 503)


def kept(response: Response) -> KeptResponse:
    """What is kept of a response."""
    content_type = response.headers.get("content-type")
    return KeptResponse(
        response.status_code, {"content-type": content_type} if content_type else {}, bytes(response.body)
    )


def replayed(found: KeptResponse) -> Response:
    """The first response again, and a header that says so."""
    return Response(found.body, found.status, {**found.headers, REPLAYED: "true"})


@asynccontextmanager
async def holding(requests: IdempotentRequests, claim: Claim) -> AsyncIterator[None]:
    """Keep a claim alive while its request is carried out; one that ends unfinished can be tried again at once."""
    renewing = asyncio.create_task(_renew(requests, claim))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        await in_thread(requests.drop, claim)


async def _renew(requests: IdempotentRequests, claim: Claim) -> None:
    while True:
        await asyncio.sleep(STALE_SECONDS / 3)
        await in_thread(requests.renew, claim)


class _HeldResponse:
    """Takes what the application sends: nobody sees an answer before it is kept."""

    def __init__(self) -> None:
        self.response = Response(status_code=CLIENT_CLOSED_REQUEST)  # where nothing is sent, nobody listens

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.response.status_code = message["status"]
            self.response.raw_headers = list(message["headers"])
        elif message["type"] == "http.response.body":
            self.response.body = bytes(self.response.body) + message.get("body", b"")


def _refuse_stream(body: bytes) -> None:
    try:
        asked: Any = json.loads(body)
    except (ValueError, RecursionError):
        return  # the route says what is wrong with it
    if isinstance(asked, dict) and asked.get("stream"):
        raise InvalidInputError(
            "A streamed answer cannot be repeated: leave the Idempotency-Key out, or ask with `stream` false."
        )
