"""Folders kept in step: a run on what changes, and now and then a look at everything.

The system's file events say where to look, never what happened: a run walks the folder that a change lies in. What
events do not tell (a link whose target changed elsewhere, rules above the given path, a network drive, a queue that
overflowed) is found by the look at everything. Changes that come during a run are gathered for the next; there are
never two at once.

A given path that is not there, because a drive was unmounted or a folder moved away, is not taken for empty: it is left
alone until it is back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from watchfiles import awatch

from ingest.ignoring import shown
from ingest.sources import walk
from ingest.watched import Root, affected_folders, changes_that_count
from rag.concurrency import in_thread
from rag.errors import InvalidInputError, QuothError
from rag.settings import IngestSettings

# A change is acted upon once none has followed for QUIET, or when they have kept coming for LONGEST.
QUIET_MS, LONGEST_MS = 100, 2_000
# How often a root is looked for, there or gone.
PRESENCE_SECONDS = 0.5
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 1.0, 60.0

Run = Callable[[Sequence[Path]], Awaitable[object]]
Trouble = Literal["empty", "gone", "back", "unwatched", "retrying"]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """What a watch has to tell.

    Attributes:
        kind: `ran`; `empty`, a run found nothing to read; `gone` and `back`, of a given path; `unwatched`, changes
            below it are found by the look at everything alone; `retrying`, a run failed in a way that can pass.
        paths: what it is about.
        message: for people; empty for `ran`.
        result: of the run, for `ran`.
        seconds: that the run took.
    """

    kind: Literal["ran"] | Trouble
    paths: tuple[Path, ...]
    message: str = ""
    result: object = None
    seconds: float = 0.0


OnEvent = Callable[[WatchEvent], None]


async def watch(
    run: Run,
    paths: Sequence[Path],
    *,
    rescan_seconds: float,
    stop: asyncio.Event,
    on_event: OnEvent = lambda _: None,
    leave_out: Sequence[Path] = (),
) -> None:
    """Call `run` on all paths, then on the folders that change, until `stop` is set.

    A run in progress when `stop` is set is cancelled; it must leave a state from which the next one goes on.

    Args:
        run: brings what lies at and below the given paths in step.
        paths: files and folders.
        rescan_seconds: how often to run on all paths again.
        stop: ends the watch.
        on_event: told of every run and every trouble; what it raises ends the watch.
        leave_out: folders whose changes do not count, such as one that `run` writes to.

    Raises:
        InvalidInputError: a path does not exist.
        QuothError: of a run, where trying again would not help.
    """
    roots = [Root(path) for path in paths]
    try:
        await _Watch(run, roots, rescan_seconds, stop, on_event, leave_out).all()
    except ExceptionGroup as failures:
        raise _first(failures) from failures


class _Watch:
    """The state of one watch."""

    def __init__(
        self, run: Run, roots: Sequence[Root], rescan_seconds: float, stop: asyncio.Event, on_event: OnEvent,
        leave_out: Sequence[Path],
    ) -> None:  # fmt: skip
        self._run = run
        self._roots = roots
        self._rescan_seconds = rescan_seconds
        self._stop = stop
        self._on_event = on_event
        self._leave_out = [str(path.resolve()) for path in leave_out]
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._over = asyncio.Event()
        self._retry_seconds = FIRST_RETRY_SECONDS

    async def all(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            listeners = [tasks.create_task(self._listen(root)) for root in self._roots]
            try:
                await self._serve()
            finally:
                self._over.set()
                for listener in listeners:
                    listener.cancel()

    async def _serve(self) -> None:
        """Run on everything, on what changes, and on everything again from time to time."""
        for root in self._roots:  # heard before looked at, so that no change falls between the two
            await _either(root.ready, self._stop)
        everything_at = time.monotonic()
        while not self._stop.is_set():
            if time.monotonic() >= everything_at:
                self._changed.update(root.text for root in self._roots)
                everything_at = time.monotonic() + self._rescan_seconds
            self._wake.clear()
            changed, self._changed = self._changed, set()
            folders = await in_thread(self._where_to_look, changed)
            if folders:
                await self._attempt(folders)
            await _either(self._wake, self._stop, seconds=everything_at - time.monotonic())

    def _where_to_look(self, changed: Iterable[str]) -> list[Path]:
        return affected_folders([root for root in self._roots if not root.is_gone and root.is_there()], changed)

    async def _attempt(self, paths: Sequence[Path]) -> None:
        started = time.monotonic()
        try:
            done, result = await self._run_unless_stopped(paths)
        except InvalidInputError as error:
            await self._go_on_or_raise(paths, error)
        except QuothError as error:
            if not error.retryable:
                raise
            wait = self._retry_seconds
            self._retry_seconds = min(wait * 2, LAST_RETRY_SECONDS)
            self._tell("retrying", paths, f"{error} Trying again in {wait:.0f} s.")
            await _either(self._stop, seconds=wait)
            self._note(str(path) for path in paths)
        else:
            self._retry_seconds = FIRST_RETRY_SECONDS
            if done:
                self._on_event(WatchEvent("ran", tuple(paths), "", result, time.monotonic() - started))

    async def _run_unless_stopped(self, paths: Sequence[Path]) -> tuple[bool, object]:
        async def call() -> object:
            return await self._run(paths)

        running = asyncio.create_task(call())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            return (True, running.result()) if running.done() else (False, None)
        finally:
            for task in (running, stopping):
                task.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)

    async def _go_on_or_raise(self, paths: Sequence[Path], error: InvalidInputError) -> None:
        """Go on where a folder went away meanwhile or holds nothing yet; raise the error where it is about else."""
        if not all([await in_thread(path.exists) for path in paths]):
            self._note(str(path) for path in paths)
        elif await in_thread(lambda: next(walk(paths, IngestSettings()), None)) is None:
            self._tell("empty", paths, f"There is nothing to read in {_named(paths)} yet.")
        else:
            raise error

    async def _listen(self, root: Root) -> None:
        """Note what changes below a root for as long as the watch lasts, through its absences."""
        while not self._over.is_set():
            if await in_thread(root.is_there):
                await self._hear_or_say_why_not(root)
                continue
            if not root.is_gone:
                root.is_gone = True
                root.ready.set()
                self._tell("gone", [root.path], f"{_named([root.path])} is not there; what it held is kept.")
            await _either(self._over, seconds=PRESENCE_SECONDS)

    async def _hear_or_say_why_not(self, root: Root) -> None:
        try:
            await self._hear(root)
        except (OSError, RuntimeError) as error:  # what the events' library raises, of too many folders for one
            if not await in_thread(root.is_there):
                return
            self._heard(root)
            message = f"Changes below {_named([root.path])} cannot be watched: {error}. It is looked at now and then."
            self._tell("unwatched", [root.path], message)
            while await in_thread(root.is_there) and not self._over.is_set():
                await _either(self._over, seconds=PRESENCE_SECONDS)

    async def _hear(self, root: Root) -> None:
        """Note changes until the root is gone or has become another folder."""
        await in_thread(root.remember)
        events = awatch(
            root.watched, watch_filter=None, debounce=LONGEST_MS, step=QUIET_MS, recursive=root.is_folder,
            stop_event=asyncio.Event(), rust_timeout=int(PRESENCE_SECONDS * 1000), yield_on_timeout=True,
            ignore_permission_denied=True,
        )  # fmt: skip
        is_heard = False
        async with aclosing(events):
            async for changes in events:
                if not await in_thread(lambda: root.is_there() and root.is_same()):
                    return
                if not is_heard:
                    is_heard = True
                    self._heard(root)
                elif changes:
                    paths = [path for _, path in changes]
                    self._note(await in_thread(changes_that_count, root, paths, self._leave_out))

    def _heard(self, root: Root) -> None:
        """From now on changes below a root are heard; what came before is found by walking it."""
        if root.is_gone:
            root.is_gone = False
            self._tell("back", [root.path], f"{_named([root.path])} is there again.")
        if root.ready.is_set():
            self._note([root.text])
        root.ready.set()

    def _note(self, paths: Iterable[str]) -> None:
        self._changed.update(paths)
        if self._changed:
            self._wake.set()

    def _tell(self, kind: Trouble, paths: Sequence[Path], message: str) -> None:
        self._on_event(WatchEvent(kind, tuple(paths), message))


async def _either(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Wait until one of the events is set, or for so long."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    timeout = None if seconds is None else max(seconds, 0)
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _named(paths: Sequence[Path]) -> str:
    return ", ".join(shown(str(path)) for path in paths)


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    """The error that ended the watch; what else failed failed because of it."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
