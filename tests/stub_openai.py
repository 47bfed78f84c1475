"""A model server that misbehaves on request, in two dialects: OpenAI's chat completions and Anthropic's messages.

Plain asyncio sockets in a thread, so that it can cut a connection in the middle and see a client leave.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

WORDS = ["The", " term", " is", " 30", " days", "."]

Send = Callable[[bytes], None]


@dataclass
class StubServer:
    """What it was asked, and what it saw. `mode` is what it does with the next request."""

    mode: str = "normal"
    failures_left: int = 0  # requests that fail with `mode` before the rest are answered normally; 0 for all
    port: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    client_left: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Of the server, without a path."""
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")
            )
            body = json.loads(await reader.readexactly(length))
            self.requests.append(body)
            self.headers.append(head)
            mode = self.mode
            if self.failures_left:
                self.failures_left -= 1
                if not self.failures_left:
                    self.mode = "normal"
            async for piece in _answer(mode, body, "/messages" in head):
                writer.write(piece)
                await writer.drain()
        except (ConnectionError, _CutError):
            self.client_left.set()
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()  # the server is closing
        finally:
            writer.close()


class _CutError(Exception):
    """Reset the connection."""


ERRORS: dict[str, tuple[int, dict[str, Any], str]] = {
    "401": (401, {"error": {"message": "Incorrect API key: sk-secret-12345678", "code": "invalid_api_key"}}, ""),
    "404": (404, {"error": {"message": "The model does not exist", "code": "model_not_found"}}, ""),
    "429": (429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}, "Retry-After: 0\r\n"),
    "429-long": (429, {"error": {"message": "Rate limit reached"}}, "Retry-After: 3600\r\n"),
    "429-quota": (429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, ""),
    "500": (500, {"error": {"message": "The server had an error"}}, ""),
    "503": (503, {"error": {"message": "Overloaded"}}, ""),
    "400-too-long": (400, {"error": {"message": "This model's maximum context length is 10 tokens",
                                     "code": "context_length_exceeded"}}, ""),
    "400-image": (400, {"error": {"message": "Invalid request"}}, ""),
}  # fmt: skip


async def _answer(mode: str, body: dict[str, Any], is_anthropic: bool) -> AsyncIterator[bytes]:
    if mode == "no-stream-options":
        mode = "400-stream-options" if "stream_options" in body else "normal"
    if mode == "400-stream-options":
        error = {"error": {"message": "Unrecognized request argument supplied: stream_options"}}
        yield _whole(400, json.dumps(error).encode(), "application/json", "")
        return
    if mode in ERRORS:
        status, content, extra = ERRORS[mode]
        yield _whole(status, json.dumps(content).encode(), "application/json", extra)
        return
    if mode == "html":
        yield _whole(200, b"<html><body>It works!</body></html>", "text/html", "")
        return
    if mode == "never":
        await asyncio.sleep(30)
        return
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    events = _anthropic_events(mode, body) if is_anthropic else _openai_events(mode, body)
    async for event in events:
        yield event


def _whole(status: int, body: bytes, media_type: str, extra: str) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{extra}Connection: close\r\n\r\n".encode() + body


async def _openai_events(mode: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        event = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
        return f"data: {json.dumps(event)}\n\n".encode()

    if mode == "empty":
        return
    if mode == "keep-alives":
        for _ in range(200):
            yield b": ping\n\n"
            await asyncio.sleep(0.05)
    yield chunk({"role": "assistant", "content": ""})
    most = body.get("max_completion_tokens") or body.get("max_tokens") or 1000
    words = WORDS * 400 if mode == "endless" else WORDS
    for number, word in enumerate(words[:most]):
        if number == 2 and mode == "stall":
            await asyncio.sleep(30)
        if number == 2 and mode == "cut":
            raise _CutError
        if number == 2 and mode == "garbage":
            yield b'data: {"choices": [\n\n'
            return
        if number == 2 and mode == "error-event":
            yield b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\n'
            return
        if mode == "endless":
            await asyncio.sleep(0.02)
        yield chunk({"content": word})
    if mode == "no-finish":
        return
    reason = {"content-filter": "content_filter", "length": "length"}.get(mode, "stop")
    yield chunk({}, "length" if most < len(words) else reason)
    if (body.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 11, "completion_tokens": min(most, len(words)), "total_tokens": 17}
        yield chunk({}, None, usage=usage).replace(b'"choices": [{"index": 0, "delta": {}, "finish_reason": null}]',
                                                   b'"choices": []')  # fmt: skip
    yield b"data: [DONE]\n\n"


async def _anthropic_events(mode: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
               "stop_sequence": None, "usage": {"input_tokens": 11, "output_tokens": 1}}  # fmt: skip
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    most = body["max_tokens"]
    words = WORDS * 400 if mode == "endless" else WORDS
    for number, word in enumerate(words[:most]):
        if number == 2 and mode == "cut":
            raise _CutError
        if number == 2 and mode == "error-event":
            yield event("error", error={"type": "overloaded_error", "message": "Overloaded"})
            return
        if mode == "endless":
            await asyncio.sleep(0.02)
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
    yield event("content_block_stop", index=0)
    reason = {"content-filter": "refusal"}.get(mode, "max_tokens" if most < len(words) else "end_turn")
    if mode != "no-finish":
        yield event(
            "message_delta",
            delta={"stop_reason": reason, "stop_sequence": None},
            usage={"input_tokens": 11, "output_tokens": min(most, len(words))},
        )
        yield event("message_stop")


@contextmanager
def stub_server(mode: str = "normal") -> Iterator[StubServer]:
    """A server on a free port of the loopback, in a thread of its own, gone at the end."""
    stub = StubServer(mode=mode)
    ready = threading.Event()
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        stopped = asyncio.Event()
        server = await asyncio.start_server(stub.handle, "127.0.0.1", 0)
        stub.port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(stopped.set))
        ready.set()
        await stopped.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="stub-model-server")
    thread.start()
    ready.wait(10)
    try:
        yield stub
    finally:
        stop[0]()
        thread.join(10)
