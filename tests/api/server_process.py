"""A server in a process of its own, over two small texts, with a model that does what the question tells it to."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import IO, Any

import httpx

ROOT = Path(__file__).parents[2]
TEXT = "Trains are booked in second class. Flights need the consent of a manager.\n"
BOOTED_SECONDS = 90


class ToldChatModel:
    """Writes as many words as the question says: `words=40 gap=0.01 at=7 end=raise`.

    `end` is what happens at word `at`: `raise` an upstream error, `crash` unexpectedly, `silence` without an end.
    """

    name = "told"
    context_tokens = 4096

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def stream(self, prompt: Any, sampling: Any) -> AsyncIterator[Any]:
        from rag.errors import UpstreamUnavailableError
        from rag.protocols import ModelDelta

        told = dict(re.findall(r"(\w+)=(\S+)", prompt.question))
        for number in range(int(told.get("words", "5"))):
            if number == int(told.get("at", "-1")):
                if told["end"] == "raise":
                    raise UpstreamUnavailableError("The model broke off.")
                if told["end"] == "crash":
                    raise RuntimeError(told.get("saying", "crash"))
                return
            yield ModelDelta(text=f"word{number} ")
            await asyncio.sleep(float(told.get("gap", "0.005")))
        yield ModelDelta(finish_reason="stop")

    async def close(self) -> None:
        """Nothing is held."""


@contextmanager
def server_process(
    folder: Path, *, environment: dict[str, str] | None = None, stderr: int | IO[bytes] = subprocess.PIPE
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server over `folder`; yields the process and its port, and kills what is left of it."""
    command = [sys.executable, str(Path(__file__)), str(folder)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "QUOTH_LOG_LEVEL": "info", "QUOTH_CHAT__GROUNDING": "off"}
    env |= environment or {}
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=stderr)
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], BOOTED_SECONDS)
        line = process.stdout.readline() if ready else b""
        assert line, (process.communicate(timeout=10)[1] or b"").decode()
        yield process, int(line)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def ended(process: subprocess.Popen[bytes], seconds: float) -> int:
    """The exit status of a process that ends within so many seconds."""
    return process.wait(timeout=seconds)


def body(question: str, *, stream: bool = True, **more: Any) -> bytes:
    """Of a chat completion."""
    messages = [{"role": "user", "content": question}]
    return json.dumps({"model": "quoth/default", "messages": messages, "stream": stream, **more}).encode()


def post(port: int, content: bytes, **headers: str) -> httpx.Response:
    """A chat completion."""
    url = f"http://localhost:{port}/v1/chat/completions"
    return httpx.post(url, content=content, headers={"content-type": "application/json", **headers})


def request(path: str, content: bytes, *headers: str) -> bytes:
    """A POST, as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


class Told:
    """What one connection brought: the status, the frames, and whether it came to its end."""

    def __init__(self, raw: bytes) -> None:
        head, _, chunked = raw.partition(b"\r\n\r\n")
        self.head = head.decode()
        self.status = int(head.split(b" ")[1]) if head else 0
        content, self.is_whole = _unchunked(chunked) if b"chunked" in head.lower() else (chunked, True)
        self.frames = [each for each in content.decode().split("\n\n") if each and not each.startswith(":")]

    @property
    def terminals(self) -> list[str]:
        """The frames that end a chat completion or a response."""
        ends = ("response.completed", "response.incomplete", "response.failed")
        whole = ("data: [DONE]", 'data: {"error"')
        return [
            each for each in self.frames if each.startswith(whole) or any(f"event: {end}\n" in each for end in ends)
        ]

    @property
    def text(self) -> str:
        """What a chat completion said."""
        deltas = [
            json.loads(each.removeprefix("data: ")) for each in self.frames if each.startswith('data: {"id"')
        ]  # fmt: skip
        return "".join(choice["delta"].get("content") or "" for delta in deltas for choice in delta["choices"])


def _unchunked(raw: bytes) -> tuple[bytes, bool]:
    pieces: list[bytes] = []
    while True:
        size, found, raw = raw.partition(b"\r\n")
        if not found or not size:
            return b"".join(pieces), False
        length = int(size, 16)
        if not length:
            return b"".join(pieces), raw == b"\r\n"
        pieces.append(raw[:length])
        raw = raw[length + 2 :]


async def ask(port: int, sent: bytes, leave_after: int | None = None) -> Told:
    """Send a request and read to the end; `leave_after` so many bytes of the answer, the connection is broken."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    raw = b""
    try:
        writer.write(sent)
        while piece := await reader.read(4096):
            raw += piece
            if leave_after is not None and len(raw) >= leave_after:
                break
            if raw.endswith(b"0\r\n\r\n") or _is_plain_whole(raw):
                break
    except ConnectionError:
        pass  # what has come by then is judged
    finally:
        if leave_after is not None:
            writer.transport.abort()
        writer.close()
    return Told(raw)


def _is_plain_whole(raw: bytes) -> bool:
    head, found, content = raw.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return bool(found and length and len(content) >= int(length[1]))


async def until(condition: Any, seconds: float = 20) -> None:
    """Wait for something that must come to pass."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.02)


def main(folder: Path) -> None:
    """Serve until told to end."""
    asyncio.run(_main(folder))


async def _main(folder: Path) -> None:
    from api.app import create_app
    from api.dependencies import Live
    from api.logs import start_logging
    from cli.server import _listen
    from cli.serving import GracefulServer
    from ingest.pipeline import Ingestor
    from rag.answering import Answerer
    from rag.settings import load_settings
    from tests.fakes import fake_engine

    settings = load_settings({"data_dir": folder / "data"})
    docs = folder / "docs"
    docs.mkdir(exist_ok=True)
    (docs / "travel.txt").write_text(TEXT)
    log = start_logging(settings, settings.log_level, settings.server.log_format)
    with closing(log), fake_engine(folder / "data") as engine:
        await Ingestor(engine).run([docs], "default")

        @asynccontextmanager
        async def opening(_: Any) -> AsyncIterator[Live]:
            yield Live(engine, Answerer(engine.retriever, ToldChatModel(), settings.chat))

        listener = _listen("127.0.0.1", 0)
        server = GracefulServer(create_app(settings, opening), settings.server)
        print(listener.getsockname()[1], flush=True)  # noqa: T201
        await server.serve(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
