"""Clients of their own process: raw sockets, so that they cost less than what they measure."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

FIRST = b'"delta":{"content":"'
DONE = b"data: [DONE]"
CHAT, RAW = "/v1/chat/completions", "/bench/raw"
QUESTION = "What do the documents say about leave? words={words} gap={gap} id={id} together={together}"


@dataclass
class Outcome:
    """One request. Times are in seconds from its sending; None is never."""

    id: str
    sent: float = 0.0
    first: float | None = None
    ended: float | None = None
    status: int = 0
    is_complete: bool = False
    left_at: float | None = None  # a Unix time


class _Stream(asyncio.Protocol):
    """Sends a request and watches what comes."""

    def __init__(self, sent: bytes, outcome: Outcome, leave_after: float | None) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sent = sent
        self._outcome = outcome
        self._leave_after = leave_after
        self._tail = b""
        self._begun = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        self._begun = self._outcome.sent = time.perf_counter()
        transport.write(self._sent)
        if self._leave_after is not None:
            asyncio.get_running_loop().call_later(self._leave_after, self._leave)

    def data_received(self, data: bytes) -> None:
        outcome = self._outcome
        if not outcome.status:
            outcome.status = int(data[9:12])
        seen = self._tail + data
        if outcome.first is None and FIRST in seen:
            outcome.first = time.perf_counter() - self._begun
        outcome.is_complete = outcome.is_complete or DONE in seen
        if seen.endswith(b"0\r\n\r\n") or outcome.status != 200:
            outcome.ended = time.perf_counter() - self._begun
            self._transport.close()
        self._tail = seen[-len(FIRST) :]

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        if not self.over.done():
            self.over.set_result(None)

    def _leave(self) -> None:
        if not self.over.done() and self._outcome.ended is None:
            self._outcome.left_at = time.time()
            self._transport.abort()


class Clients:
    """Asks one server."""

    def __init__(self, port: int, words: int, gap: float) -> None:
        self.port = port
        self.words = words
        self.gap = gap
        self._asked = 0

    async def ask(self, path: str = CHAT, leave_after: float | None = None, together: int = 1) -> Outcome:
        """One stream, to its end or until it is left."""
        self._asked += 1
        outcome = Outcome(str(self._asked))
        question = QUESTION.format(words=self.words, gap=self.gap, id=outcome.id, together=together)
        body = json.dumps(
            {
                "model": "quoth/default", "messages": [{"role": "user", "content": question}], "stream": True,
                "max_tokens": 4096,
            }
        ).encode()  # fmt: skip
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        sent = f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        loop = asyncio.get_running_loop()
        try:
            _, stream = await loop.create_connection(
                lambda: _Stream(sent, outcome, leave_after), "127.0.0.1", self.port
            )
        except OSError:
            return outcome
        await stream.over
        return outcome

    async def at_once(self, streams: int, path: str = CHAT) -> tuple[float, list[Outcome]]:
        """So many that write together; the seconds from when all had begun to the last end, and what became of them."""
        outcomes = await asyncio.gather(*(self.ask(path, together=streams) for _ in range(streams)))
        begun = max((each.sent + each.first for each in outcomes if each.first is not None), default=0.0)
        ended = max((each.sent + each.ended for each in outcomes if each.ended is not None), default=0.0)
        return ended - begun, outcomes

    async def arriving(
        self, rate: float, seconds: float, leaving: float = 0.0, longest_stay: float = 0.0, seed: int = 7
    ) -> list[Outcome]:
        """Open loop: they come at random, whether or not those before are served; a share of them leaves early."""
        chance = random.Random(seed)  # noqa: S311
        asking: list[asyncio.Task[Outcome]] = []
        began = due = time.perf_counter()
        while due - began < seconds:
            due += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            stay = chance.uniform(0, longest_stay) if chance.random() < leaving else None
            asking.append(asyncio.create_task(self.ask(leave_after=stay)))
        return list(await asyncio.gather(*asking))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share does not exceed; infinite where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("inf")
