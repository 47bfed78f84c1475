"""What a chat server may answer with: a stream of events, each of them of a size that an answer has.

The check hangs on the HTTP client, since the providers' packages follow redirects, read pages as empty streams, and
gather an event that never ends in memory.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx

from rag.backends.chat.upstream import said_of, upstream_error
from rag.errors import QuothError, UpstreamRejectedError, UpstreamUnavailableError

CONNECT_SECONDS: Final = 10.0
MAX_EVENT_BYTES: Final = 1 << 20
# As the openai package has them: its own of 100 would make the rest of many answers wait for a connection.
LIMITS: Final = httpx.Limits(max_connections=1000, max_keepalive_connections=100)


def event_client(model: str, secret: str | None) -> httpx.AsyncClient:
    """A client that follows no redirect and refuses what is no stream of events; whoever uses it sets the timeouts."""
    gate = EventGate(model, secret)
    return httpx.AsyncClient(event_hooks={"response": [gate.check]}, limits=LIMITS, follow_redirects=False)


def timeouts(seconds: float) -> httpx.Timeout:
    """Of a client whose longest silence is `seconds`; a host that takes no connection is given up sooner."""
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


class EventGate:
    """Looks at each response before anything reads it."""

    def __init__(self, model: str, secret: str | None) -> None:
        self._model = model
        self._secret = secret

    async def check(self, response: httpx.Response) -> None:
        """Bound what is read of a response, and refuse what can hold no answer.

        Raises:
            UpstreamRejectedError: it leads elsewhere: the documents in a prompt are sent to no other address than the
                configured one.
            UpstreamUnavailableError: a page, an error that says 200, or an answer that is not streamed.
        """
        if response.has_redirect_location:
            raise UpstreamRejectedError(
                f"The server of the model {self._model} sends on to another address (HTTP {response.status_code}), "
                "which is not followed. Set QUOTH_CHAT__BASE_URL to the address that it leads to."
            )
        is_stream = response.status_code == httpx.codes.OK
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101
        response.stream = BoundedStream(response.stream, self._model, by_line=is_stream)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if is_stream and kind == "text/html":
            raise UpstreamUnavailableError(
                f"The server of the model {self._model} sent a page instead of an answer. Check that "
                "QUOTH_CHAT__BASE_URL leads to a chat API, then try again."
            )
        if is_stream and kind == "application/json":
            self._refuse(await response.aread())

    def _refuse(self, body: bytes) -> None:
        """Raise what a JSON object stands for; events that are only called JSON are let through."""
        try:
            content = json.loads(body)
        except ValueError:
            return
        error = content.get("error") if isinstance(content, dict) else None
        if not error:
            raise UpstreamUnavailableError(
                f"The server of the model {self._model} sent one piece of JSON instead of a stream of events. Check "
                "that QUOTH_CHAT__BASE_URL leads to a chat API that streams, then try again."
            )
        raise stated_error(error, self._model, self._secret)


def stated_error(error: Any, model: str, secret: str | None) -> QuothError:
    """What an error object stands for that came with, or after, a status of 200."""
    fields = error if isinstance(error, dict) else {"message": error}
    code = str(fields.get("code", ""))
    status = int(code) if code.isdecimal() and 400 <= int(code) <= 599 else None
    return upstream_error(status, json.dumps(fields), said_of(str(fields.get("message", "")), secret), model)


class BoundedStream(httpx.AsyncByteStream):
    """Bytes of a response, as long as no line of it, or else the whole, is larger than an event may be."""

    def __init__(self, stream: httpx.AsyncByteStream, model: str, *, by_line: bool) -> None:
        self._stream = stream
        self._model = model
        self._by_line = by_line

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            line_end = max(piece.rfind(b"\n"), piece.rfind(b"\r")) if self._by_line else -1
            size = len(piece) + (size if line_end < 0 else -line_end - 1)
            if size > MAX_EVENT_BYTES:
                raise UpstreamUnavailableError(
                    f"The model {self._model} sent more than {MAX_EVENT_BYTES:,} bytes in one piece, which no answer "
                    "needs, so it was given up. Check what QUOTH_CHAT__BASE_URL leads to."
                )
            yield piece

    async def aclose(self) -> None:
        """Close the connection's side of it."""
        await self._stream.aclose()
