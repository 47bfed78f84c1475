"""When the frames of one stream go out: the first at once, what follows within a few milliseconds together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.types import Send

# Nobody reads faster than this; a model that writes faster costs a write for each window, not for each token. Where the
# event loop is behind with its work, there are fewer and larger writes: they are most of what a stream costs.
WINDOW_SECONDS: Final = 0.01
LONGEST_WINDOW_SECONDS: Final = 0.05
WINDOW_FOR_LATENESS: Final = 4
MAX_PIECE_BYTES: Final = 16_384
KEEP_ALIVE: Final = b": keep-alive\n\n"
KEEP_ALIVE_SECONDS: Final = 15.0
STALL_SECONDS: Final = 60.0


class PacedWriter:
    """Writes frames to ASGI in their order; `close` it in any case.

    At most `MAX_PIECE_BYTES` and one frame wait here. While the reader is slow, `flush` waits, and the server below
    holds 64 KiB and one piece.
    """

    def __init__(
        self, send: Send, stalled: Callable[[], None], stall_seconds: float, keep_alive_seconds: float
    ) -> None:
        """Args: `stalled` is called once when a write has waited for `stall_seconds`."""
        self.is_ended = False
        self.has_last = False
        self._send = send
        self._stalled = stalled
        self._stall_seconds = stall_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._waiting: list[bytes] = []
        self._size = 0
        self._sent_at = 0.0
        self._window = WINDOW_SECONDS
        self._sending_since: float | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._tick_seconds = min(stall_seconds, keep_alive_seconds) / 3
        self._ticker = self._loop.call_later(self._tick_seconds, self._tick)
        self._quiet_since = self._loop.time()

    def add(self, frame: bytes, *, is_last: bool = False) -> bool:
        """Take a frame; returns whether it is to be flushed now, instead of a little later by itself."""
        self._waiting.append(frame)
        self._size += len(frame)
        if is_last:
            self.has_last = True
            return True
        if self._size >= MAX_PIECE_BYTES or self._loop.time() - self._sent_at >= self._window:
            return True
        if self._flush_timer is None:
            due = self._sent_at + self._window
            self._flush_timer = self._loop.call_at(due, self._on_due, due)
        return False

    async def flush(self) -> None:
        """Write what waits; behind the last frame, end the response."""
        async with self._lock:
            if self.is_ended or not self._waiting:
                return
            piece, is_last = b"".join(self._waiting), self.has_last
            self._waiting.clear()
            self._size = 0
            # Cancelled while it waits for the reader, nothing of the piece has been written; it counts as unsaid. The
            # last frame may also come meanwhile, behind a piece that is not the last.
            if is_last:
                self.has_last = False
            self._sending_since = self._loop.time()
            try:
                await self._send({"type": "http.response.body", "body": piece, "more_body": not is_last})
            finally:
                self._sending_since = None
            if is_last:
                self.has_last = self.is_ended = True
            self._sent_at = self._quiet_since = self._loop.time()

    def close(self) -> None:
        """Let go of the timers."""
        self._ticker.cancel()
        if self._flush_timer:
            self._flush_timer.cancel()
        if self._flushing:
            self._flushing.cancel()

    def _on_due(self, due: float) -> None:
        self._flush_timer = None
        lateness = self._loop.time() - due
        self._window = min(WINDOW_SECONDS + WINDOW_FOR_LATENESS * lateness, LONGEST_WINDOW_SECONDS)
        self._flush_later()

    def _flush_later(self) -> None:
        if self._waiting and not self._lock.locked():
            self._flushing = self._loop.create_task(self.flush())

    def _tick(self) -> None:
        now = self._loop.time()
        if self._sending_since is not None and now - self._sending_since >= self._stall_seconds:
            self._stalled()
            return
        if self._sending_since is None and now - self._quiet_since >= self._keep_alive_seconds:
            self.add(KEEP_ALIVE)
            self._flush_later()
        self._ticker = self._loop.call_later(self._tick_seconds, self._tick)
