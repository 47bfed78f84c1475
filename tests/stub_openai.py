"""A model server that misbehaves on request, in two dialects: OpenAI's chat completions and Anthropic's messages.

Plain asyncio sockets in a thread, so that it can cut a connection in the middle and see a client leave.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
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
    connections: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    client_left: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Of the server, without a path."""
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        self.connections += 1
        try:
            if self.mode == "plain":  # to one who speaks TLS
                await reader.read(1)
                writer.write(_whole(400, b"This is no TLS.", "text/plain", ""))
                return
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if head.startswith("GET "):  # as llama.cpp's server describes its model
                meta = {"data": [{"meta": {"n_ctx_train": 8192, "n_ctx": 8192}}]}
                writer.write(_whole(200, json.dumps(meta).encode(), "application/json", ""))
                return
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
        except _CutError:
            # A reset, as a crashed server or a firewall sends it, instead of an end.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        except ConnectionError:
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
    "403": (403, {"error": {"message": "Project proj_secret123 has no access", "code": "forbidden"}}, ""),
    "404": (404, {"error": {"message": "The model does not exist", "code": "model_not_found"}}, ""),
    "429": (429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}, "Retry-After: 0\r\n"),
    "429-long": (429, {"error": {"message": "Rate limit reached"}}, "Retry-After: 3600\r\n"),
    "429-quota": (429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, ""),
    "500": (500, {"error": {"message": "Failed with Authorization: Bearer tok-secret-12345678"}}, ""),
    "200-error": (200, {"error": {"message": "Overloaded; api_key=secret-12345678"}}, ""),
    "200-401": (200, {"error": {"message": "Bad key sk-secret-12345678", "code": 401}}, ""),
    "200-whole": (200, {"object": "chat.completion", "choices": [{"message": {"content": "The term"}}]}, ""),
    "redirect": (307, {}, "Location: http://127.0.0.1:9/v1/chat/completions\r\n"),
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
    if mode == "cut-first":
        raise _CutError
    media_type = {"text-type": "text/plain", "json-type": "application/json"}.get(mode, "text/event-stream")
    yield f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nConnection: close\r\n\r\n".encode()
    if mode == "silent":
        await asyncio.sleep(30)
    line_ends = itertools.cycle([b"\r\n", b"\n", b"\r"])
    events = _anthropic_events(mode, body) if is_anthropic else _openai_events(mode, body)
    async for event in events:
        if mode == "line-ends":
            line_end = next(line_ends)
            yield event.replace(b"\n", line_end)
        elif mode == "split":
            for at in range(len(event)):
                yield event[at : at + 1]
                await asyncio.sleep(0)
        else:
            yield event


def _whole(status: int, body: bytes, media_type: str, extra: str) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{extra}Connection: close\r\n\r\n".encode() + body


def _chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
    event = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return f"data: {json.dumps(event)}\n\n".encode()


DONE = b"data: [DONE]\n\n"
TOOL_CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "fetch", "arguments": "{}"}}
NOTHING = {"keep-alives": b": ping\n\n", "blank-lines": b"\n \n\n", "empty-events": _chunk({})}
INSTEAD = {
    "empty": [],
    "tool-call": [_chunk({"role": "assistant", "tool_calls": [TOOL_CALL]}), _chunk({}, "tool_calls"), DONE],
    "error-first": [b'data: {"error": {"message": "overloaded", "code": 529}}\n\n'],
}
CONTENT = b'data: {"choices": [{"index": 0, "delta": {"content": "'
MIDDLE = {
    "giant": [CONTENT, *[b"a" * 65536] * 160, b'"}}]}\n\n'],
    "not-utf-8": [CONTENT + b'\xc3\x28"}}]}\n\n'],
    "nul": [_chunk({"content": "\0"})],
    "line-separator": [CONTENT + "\u2028".encode() + b'"}, "finish_reason": null}]}\n\n'],
    "more": [_chunk({"content": " and on" * 2000})] * 8,
    "garbage": [b'data: {"choices": [\n\n'],
    "error-event": [b'data: {"error": {"message": "overloaded sk-secret-12345678", "type": "server_error"}}\n\n'],
}
ENDS_IN_THE_MIDDLE = {"garbage", "error-event"}
REASONS = {"content-filter": "content_filter", "length": "length", "error-reason": "error"}
BEHIND = {
    "two-ends": [_chunk({}, "stop")],
    "behind-end": [_chunk({"content": " Yes."}), _chunk({}, "stop")],
    "two-dones": [DONE, DONE],
}


async def _openai_events(mode: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
    if mode in NOTHING:
        for _ in range(200):
            yield NOTHING[mode]
            await asyncio.sleep(0.05)
    if mode in INSTEAD:
        for event in INSTEAD[mode]:
            yield event
        return
    yield _chunk({"role": "assistant", "content": ""})
    most = body.get("max_completion_tokens") or body.get("max_tokens") or 1000
    words = {"endless": WORDS * 400, "no-words": []}.get(mode, WORDS)
    for number, word in enumerate(words[:most]):
        if number == 2:
            async for piece in _middle(mode):
                yield piece
            if mode in ENDS_IN_THE_MIDDLE:
                return
        if mode == "endless":
            await asyncio.sleep(0.02)
        yield _chunk({"content": word})
    if mode != "no-finish":
        for event in _ending(mode, body, most, len(words)):
            yield event


def _ending(mode: str, body: dict[str, Any], most: int, words: int) -> Iterator[bytes]:
    yield _chunk({}, "length" if most < words else REASONS.get(mode, "stop"))
    yield from BEHIND.get(mode, [])
    if mode != "no-usage" and (body.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 11, "completion_tokens": min(most, words), "total_tokens": 17}
        yield _chunk({}, None, usage=usage).replace(b'"choices": [{"index": 0, "delta": {}, "finish_reason": null}]',
                                                    b'"choices": []')  # fmt: skip
    if mode != "no-done":
        yield DONE


async def _middle(mode: str) -> AsyncIterator[bytes]:
    """What comes behind the second word."""
    if mode == "stall":
        await asyncio.sleep(30)
    if mode == "cut":
        raise _CutError
    for piece in MIDDLE.get(mode, []):
        yield piece


async def _anthropic_events(mode: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    message: dict[str, Any] = {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 11, "output_tokens": 1},
    }  # fmt: skip
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
