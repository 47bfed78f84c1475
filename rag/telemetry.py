"""How long each stage of a question took, and what an answer cost; told to whoever watches the work.

Who watches sets `observed_by`; everything that is awaited below, and the tasks begun there, tell it. Nobody need watch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rag.events import Usage


class Observer(Protocol):
    """Hears of stages, of the stores that were searched, and of answers; never of any content."""

    def stage(self, name: str, began_at: float, seconds: float) -> None:
        """A stage is over. `began_at` is a Unix time."""
        ...

    def searched(self, store_ids: Sequence[str]) -> None:
        """Stores are searched."""
        ...

    def answered(self, outcome: str, usage: Usage) -> None:
        """An answer has ended: `complete`, `refused`, `failed`, or `left` by its reader."""
        ...


_observer: ContextVar[Observer | None] = ContextVar("quoth_observer", default=None)


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Tell `observer` of what the body does."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Time the body, whether it ends well or not."""
    observer = _observer.get()
    began_at, started = time.time(), time.perf_counter()
    try:
        yield
    finally:
        if observer:
            observer.stage(name, began_at, time.perf_counter() - started)


def note_stage(name: str, began_at: float, seconds: float) -> None:
    """Tell of a stage that was timed otherwise, for example in pieces."""
    observer = _observer.get()
    if observer:
        observer.stage(name, began_at, seconds)


def note_search(store_ids: Sequence[str]) -> None:
    """Tell which stores are searched."""
    observer = _observer.get()
    if observer:
        observer.searched(store_ids)


def note_answer(outcome: str, usage: Usage) -> None:
    """Tell that an answer has ended."""
    observer = _observer.get()
    if observer:
        observer.answered(outcome, usage)


class StageTimer:
    """Adds up wall time by stage name, in milliseconds."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body under `name`."""
        started = time.perf_counter()
        try:
            with timed(name):
                yield
        finally:
            elapsed = (time.perf_counter() - started) * 1000
            self.milliseconds[name] = round(self.milliseconds.get(name, 0.0) + elapsed, 3)
