"""The server under load: the API as it is, over real retrieval, with a stub in place of the language model.

The stub writes the words of the passages, at the pace that the question asks for (`words=500 gap=0.02 id=7`), from the
second word on when so many write as `together` says. Two more paths answer without the API: `/bench/raw` writes the
same frames as bare ASGI does, `/bench/state` tells of the process.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from api.dependencies import Live
from api.logs import start_logging
from cli.server import _listen
from cli.serving import GracefulServer
from ingest.pipeline import Ingestor
from rag.answering import Answerer
from rag.assembly import open_engine, open_judge
from rag.gathering import GatheringChatModel
from rag.protocols import ModelDelta, Prompt, Sampling
from rag.settings import load_settings

ROOT = Path(__file__).parents[2]
FRAME = (
    b'data: {"id":"chatcmpl-%024d","created":1700000000,"model":"quoth/default","object":"chat.completion.chunk",'
    b'"choices":[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null}]}\n\n'
)


class Start:
    """Where streams wait until there are enough of them."""

    def __init__(self) -> None:
        self._waiting = 0
        self._go = asyncio.Event()

    async def line_up(self, together: int) -> None:
        """Go on with the last of so many."""
        self._waiting += 1
        if self._waiting >= together:
            self._go.set()
            self._go, self._waiting = asyncio.Event(), 0
        else:
            await self._go.wait()


class StubModel:
    """Writes at a pace; remembers how many of its answers are open, and when each was closed."""

    name = "stub"
    context_tokens = 8192

    def __init__(self) -> None:
        self.open = 0
        self.closed: dict[str, float] = {}
        self._start = Start()

    def count_tokens(self, text: str) -> int:
        """About as many as a tokenizer finds."""
        return len(text) // 4

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:  # noqa: ARG002
        """Say the words of the passages, over and over."""
        told = dict(re.findall(r"(\w+)=(\S+)", prompt.question))
        said = " ".join(hit.chunk.text for hit in prompt.hits).split() or ["nothing"]
        words, gap = int(told["words"]), float(told["gap"])
        self.open += 1
        try:
            for number in range(words):
                yield ModelDelta(text=said[number % len(said)] + " ")
                if not number:
                    await self._start.line_up(int(told["together"]))
                await asyncio.sleep(gap)
            yield ModelDelta(finish_reason="stop")
        finally:
            self.open -= 1
            self.closed[told["id"]] = time.time()

    async def close(self) -> None:
        """Nothing is held."""


class Beside:
    """The API, and the two paths beside it."""

    def __init__(self, app: ASGIApp, state: Any, model: StubModel) -> None:
        self.state = state
        self._app = app
        self._model = model
        self._start = Start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path")
        if path == "/bench/raw":
            await _raw(receive, send, self._start)
        elif path == "/bench/state":
            await _whole(send, json.dumps(self._figures()).encode())
        else:
            await self._app(scope, receive, send)

    def _figures(self) -> dict[str, Any]:
        closed, self._model.closed = self._model.closed, {}
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return {
            "tasks": len(asyncio.all_tasks()), "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
            "resident_mb": round(resident / 1e6, 1), "open": self._model.open, "closed": closed,
            "cpu_seconds": time.process_time(),
        }  # fmt: skip


async def _raw(receive: Receive, send: Send, start: Start) -> None:
    """The same frames, made beforehand, by what is the least that ASGI asks for."""
    body = json.loads((await receive())["body"])
    told = dict(re.findall(r"(\w+)=(\S+)", body["messages"][-1]["content"]))
    gap, piece = float(told["gap"]), FRAME % (7, b"passage ")
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(int(told["words"])):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not number:
            await start.line_up(int(told["together"]))
        await asyncio.sleep(gap)
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


async def _whole(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def main(folder: Path) -> None:
    """Serve until told to end; prints the port when it is ready."""
    settings = load_settings({"data_dir": folder})
    log = start_logging(settings, settings.log_level, settings.server.log_format)
    with closing(log):
        async with open_engine(settings) as engine:
            await Ingestor(engine).run([ROOT / "examples"], "default")
            model = StubModel()

            @asynccontextmanager
            async def opening(_: Any) -> AsyncIterator[Live]:
                judge = open_judge(engine).judge
                yield Live(engine, Answerer(engine.retriever, GatheringChatModel(model), settings.chat, judge=judge))

            app = create_app(settings, opening)
            listener = _listen("127.0.0.1", 0)
            server = GracefulServer(Beside(app, app.state, model), settings.server)  # type: ignore[arg-type]
            print(listener.getsockname()[1], flush=True)
            await server.serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
