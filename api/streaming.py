"""Server-sent events of an answer, and what happens when its reader leaves, stalls, or the server ends.

A frame costs no task and no timer of its own: frames are written straight to ASGI, those that follow each other within
a few milliseconds in one piece. Every stream ends in exactly one terminal frame, or in a connection that breaks.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.drain import ShuttingDownError, drain_of
from api.pacing import KEEP_ALIVE_SECONDS, STALL_SECONDS, PacedWriter
from rag.errors import QuothError

T = TypeVar("T")

logger = logging.getLogger(__name__)

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
CUT_SECONDS = 1.0  # for the last frame of a stream that is cut to go out

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ClientLeftError(Exception):
    """The client closed its connection before the answer was whole."""


class Terminal(bytes):
    """The frame, or the last of the frames, that ends an answer: whole, or broken off with a reason."""

    __slots__ = ()


DONE = Terminal(b"data: [DONE]\n\n")


def encoded(data: Any) -> bytes:
    """Compact JSON; half a character, which a model may cut, becomes a question mark."""
    return _encode(data).encode(errors="replace")


def frame(data: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + encoded(data) + b"\n\n"


class EventStream(Response):
    """Sends the frames of one answer.

    Args:
        frames: ends in one `Terminal`; closed in any case, also when the reader leaves.
        failed: the terminal frame, in the dialect of the stream, of an answer that the server breaks off: time is up
            (`ShuttingDownError`), or `frames` raised or ended without a terminal.
        stall_seconds: a reader that takes nothing for so long is dropped.
        keep_alive_seconds: of silence, behind which a comment is sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        failed: Callable[[QuothError], bytes],
        *,
        stall_seconds: float = STALL_SECONDS,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        # Not Response.__init__: it would announce the length of an empty body.
        self.status_code = 200
        self.background = None
        self.init_headers(HEADERS)
        self._frames = frames
        self._failed = failed
        self._stall_seconds = stall_seconds
        self._keep_alive_seconds = keep_alive_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response to its end."""
        ending: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def end(is_deliverable: bool) -> None:
            if not ending.done():
                ending.set_result(is_deliverable)

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        writer = PacedWriter(send, lambda: end(False), self._stall_seconds, self._keep_alive_seconds)
        with drain_of(scope).telling(lambda: end(True)):
            producing = asyncio.ensure_future(self._produce(writer))
            leaving = asyncio.ensure_future(_left(receive))
            try:
                waited: set[asyncio.Future[Any]] = {producing, leaving, ending}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if producing.done() or writer.is_ended:
                    await producing
                    return
                await _stop(producing)
                if ending.done() and ending.result():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._break_off(writer, ShuttingDownError()), CUT_SECONDS)
                # Else nobody reads any more: what is not ended here is cut by the server.
            finally:
                writer.close()
                await _stop(leaving)
                await _stop(producing)
                await self._close()

    async def _produce(self, writer: PacedWriter) -> None:
        try:
            async for piece in self._frames:
                is_last = isinstance(piece, Terminal)
                if writer.add(piece, is_last=is_last):
                    await writer.flush()
                if is_last:
                    return
            await self._break_off(writer, QuothError("The answer ended without saying whether it is whole."))
        except Exception as error:
            # The edge of a stream: whatever went wrong, the reader must see that the answer is not whole.
            logger.exception("a stream broke off")
            await self._break_off(writer, QuothError(f"The answer broke off: {type(error).__name__}."))
        finally:
            await self._close()

    async def _close(self) -> None:
        await self._frames.aclose()  # type: ignore[attr-defined]

    async def _break_off(self, writer: PacedWriter, error: QuothError) -> None:
        if not writer.has_last:
            writer.add(self._failed(error), is_last=True)
        await writer.flush()


async def _stop(task: asyncio.Future[Any]) -> None:
    """Cancel what is not done, and wait for its end."""
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run `work`, and cancel it when the client leaves, or when the server's time is up.

    Raises:
        ClientLeftError: it left; nobody reads a response any more.
        ShuttingDownError: the server ends.
    """
    cut: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with drain_of(request.scope).telling(lambda: None if cut.done() else cut.set_result(None)):
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_left(request.receive))
        try:
            waited: set[asyncio.Future[Any]] = {working, leaving, cut}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise ClientLeftError if leaving.done() else ShuttingDownError
        finally:
            await _stop(working)
            await _stop(leaving)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
