"""Whether the server is ending: answers get to end for a while, and those that do not are told why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import Scope

from rag.errors import QuothError


class ShuttingDownError(QuothError):
    """The server ends before the answer did."""

    def __init__(self) -> None:
        super().__init__("The server is shutting down; ask again in a moment.")


class Drain:
    """Whether a server is ending, and who wants to hear that time is up. For one event loop."""

    def __init__(self) -> None:
        self.is_draining = False
        self.is_cut = False
        self._told: set[Callable[[], None]] = set()

    @property
    def open_answers(self) -> int:
        """Answers that are being made or sent."""
        return len(self._told)

    def begin(self, seconds: float) -> None:
        """Admit nothing from now on, and cut what is still open after so many seconds."""
        self.is_draining = True
        asyncio.get_running_loop().call_later(seconds, self.cut)

    def cut(self) -> None:
        """Tell every open answer that time is up."""
        self.is_cut = True
        for callback in tuple(self._told):
            callback()

    @contextmanager
    def telling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back, in the event loop, when time is up while the body runs; at once where it is up already."""
        self._told.add(callback)
        try:
            if self.is_cut:
                callback()
            yield
        finally:
            self._told.discard(callback)


def drain_of(scope: Scope) -> Drain:
    """The drain of the application that a request came to."""
    drain: Drain = scope["app"].state.drain
    return drain
