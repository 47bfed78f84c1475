"""How large a request's body may be, and how slowly it may come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from rag.settings import ServerSettings

UPLOAD_PATH = "/v1/files"
# What the form of an upload may have besides the file: its fields, the heads of its parts, the lines between them.
MAX_FORM_BYTES = 1_000_000
# Whoever sends less than this is not sending a document: a body that trickles in would hold its connection for ever.
LEAST_BYTES_A_SECOND = 500
GRACE_SECONDS = 20.0


def body_limit(path: str, method: str, settings: ServerSettings) -> int:
    """The most bytes that the body of a request may have."""
    if method == "POST" and path.rstrip("/") == UPLOAD_PATH:
        return settings.max_upload_bytes + MAX_FORM_BYTES
    return settings.max_body_bytes


def bounded(
    receive: Receive,
    limit: int,
    *,
    grace_seconds: float = GRACE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Receive:
    """Pass a body on as it comes, and stop reading when it is too large or too slow.

    The HTTPException is of status 413 or 408. Once the body is whole nothing is bounded: what is received then is that
    the client leaves.
    """
    started, taken, whole = clock(), 0, False

    async def passed_on() -> Message:
        nonlocal taken, whole
        if whole:
            return await receive()
        # So long does what has come so far excuse that nothing else has.
        patience = started + grace_seconds + taken / LEAST_BYTES_A_SECOND - clock()
        if patience <= 0:
            raise _too_slow()
        try:
            async with asyncio.timeout(patience):
                message = await receive()
        except TimeoutError:
            raise _too_slow() from None
        taken += len(message.get("body", b""))
        whole = message["type"] != "http.request" or not message.get("more_body", False)
        if taken > limit:
            raise HTTPException(413, f"The body is larger than {limit} bytes.")
        return message

    return passed_on


def _too_slow() -> HTTPException:
    return HTTPException(408, "The body came too slowly. Send it again over a better connection.")
