"""A collection while the worker serves it, and the building of an index that takes its place.

    copy      writes wait, searches go on, while the folder is copied
    build     a second process indexes the copy; what is written meanwhile goes to a log as well
    replay    the log is written to the indexed copy, a slice at a time, between other requests
    switch    the last slice, and then the copy is the collection

Whatever dies before the switch, the collection is as it was and complete; the build is lost, and begins again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rag.backends.vectors import edge_folders, wire
from rag.backends.vectors.edge_builder import command_arguments
from rag.backends.vectors.edge_config import Indexing
from rag.backends.vectors.edge_shard import Shard

GROWTH = 10  # a tenth more than is indexed is worth a new index, where that is more than `from_points`
PURGE_IN_PLACE = 20_000  # points; more take so long to write anew that a second process does it
REST_FACTOR = 5  # a rebuild for deleted points alone waits this many times as long as the last build took
FIRST_RETRY_SECONDS = 30.0
SLICE_BYTES = 1 << 20
LAST_SLICE_BYTES = 1 << 20
REPLAY_PASSES = 20
LOGGED = frozenset({"upsert", "delete"})
WRITES = LOGGED | {"flush"}


class WriteLog:
    """Operations on disk, in their order, as frames. Nothing is synced: the log is of no use to a later process."""

    def __init__(self, path: Path) -> None:
        """Begin an empty log."""
        self._path = path
        self._file = path.open("wb")
        self.size = 0

    def append(self, operation: str, arguments: list[Any]) -> None:
        """Add an operation. Under the engine's lock, as `size` is read."""
        frame = wire.pack((operation, *arguments))
        self._file.write(frame)
        self._file.flush()
        self.size += len(frame)

    def read(self, begin: int, end: int) -> Iterator[tuple[int, str, list[Any]]]:
        """Operations from one offset to another, each with the offset behind it."""
        with self._path.open("rb") as file:
            file.seek(begin)
            while begin < end:
                length = wire.body_length(file.read(wire.HEADER.size))
                operation, *arguments = wire.unpack(file.read(length))
                begin += wire.HEADER.size + length
                yield begin, operation, arguments

    def close(self) -> None:
        """Close and remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class Collection:
    """The shard that answers, and the build that is under way, if there is one.

    Locks are taken in this order: `writing`, then the engine's.
    """

    def __init__(
        self, root: Path, name: str, dimension: int, indexing: Indexing, engine: threading.Lock,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Open the collection, or create it, and remove what an unfinished build left. Under the engine's lock."""
        edge_folders.clear_leftovers(root, name)
        self.name = name
        self.indexing = indexing
        self.writing = threading.Lock()
        self.shard = Shard(edge_folders.current_folder(root, name), dimension)
        self._root = root
        self._engine = engine
        self._say = say
        self._log: WriteLog | None = None
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = False
        self._build_seconds = 0.0
        self._not_before = 0.0
        self._retry_seconds = FIRST_RETRY_SECONDS

    @property
    def is_building(self) -> bool:
        """Whether an index is being built."""
        return self._thread is not None and self._thread.is_alive()

    def write(self, operation: str, arguments: list[Any]) -> Any:
        """Apply a write, and keep it for the index that is being built. Under both locks."""
        try:
            done = getattr(self.shard, operation)(*arguments)
            if self._log and operation in LOGGED:
                self._log.append(operation, arguments)
        except Exception:
            self._abandon()  # a part may have been applied that the log does not tell of
            raise
        return done

    def tidy(self, flush_seconds: float, purge_seconds: float) -> None:
        """Flush, purge and index what waits for it, and begin to build what is due. Under the engine's lock."""
        if self.is_building or not self.writing.acquire(blocking=False):
            self._flush_while_building(flush_seconds)
            return
        try:
            self.shard.index_attributes()
            if is_due(self.shard.dirty_since, flush_seconds):
                self.shard.flush()
            points, exact = self.shard.sizes()
            deleted = is_due(self.shard.deleted_since, purge_seconds)
            if deleted and points < PURGE_IN_PLACE and exact == points:
                self.shard.purge()
                deleted = False
            grown = self.indexing.from_points and exact >= max(self.indexing.from_points, (points - exact) // GROWTH)
            rested = time.monotonic() >= self._not_before + (0 if grown else REST_FACTOR * self._build_seconds)
            if (grown or deleted) and rested:
                self._thread = threading.Thread(target=self._build, daemon=True)
                self._thread.start()
        finally:
            self.writing.release()

    def end(self, *, purge: bool) -> None:
        """Close the shard for good; a build is given up. Under the engine's lock, which is then never released."""
        self._abandon()
        points, exact = self.shard.sizes()
        if purge and points < PURGE_IN_PLACE and exact == points:
            self.shard.purge()
        self.shard.close()

    def _flush_while_building(self, flush_seconds: float) -> None:
        """Not while files are copied; else as ever."""
        if is_due(self.shard.dirty_since, flush_seconds) and self.writing.acquire(blocking=False):
            try:
                self.shard.flush()
            finally:
                self.writing.release()

    def _abandon(self) -> None:
        self._ending = True
        if self._process:
            self._process.kill()

    def _build(self) -> None:
        begin = time.monotonic()
        self._ending = False
        folder = edge_folders.next_folder(self._root, self.name)
        fresh: Shard | None = None
        try:
            self._copy(folder)
            copied = time.monotonic()
            self._run_builder(folder)
            built = time.monotonic()
            fresh = Shard(folder, self.shard.dimension)
            replayed = self._replay(fresh)
            old, fresh = self._switch(fresh, folder, replayed), None
        except Exception as error:
            self._say(f"{self.name} was not indexed, and is tried again: {error!r}")
            self._not_before = time.monotonic() + self._retry_seconds
            self._retry_seconds *= 2
        else:
            done = time.monotonic()
            self._build_seconds, self._not_before = done - begin, done
            points, exact = self.shard.sizes()
            if exact >= self.indexing.from_points > 0:  # the engine saw no need, and would not the next time
                self._not_before += self._retry_seconds
                self._retry_seconds *= 2
            self._say(
                f"indexed {self.name}: {points - exact} of {points} points; copied in {copied - begin:.2f} s, built in "
                f"{built - copied:.2f} s, replayed and switched in {done - built:.2f} s"
            )
            self._discard(old)
        finally:
            self._clean_up(folder, fresh)

    def _copy(self, folder: Path) -> None:
        self._say(f"{self.name}: copying")
        edge_folders.remove(folder)
        edge_folders.lock_file(folder).write_text("")
        with self.writing:
            with self._engine:
                self.shard.flush()
                self._log = WriteLog(edge_folders.log_file(folder))
            shutil.copytree(self.shard.path, folder)

    def _run_builder(self, folder: Path) -> None:
        if self._ending:
            raise InterruptedError("a write failed")
        command = [sys.executable, "-P", "-m", "rag.backends.vectors.edge_builder"]
        command += command_arguments(folder, self.shard.dimension, self.indexing)
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603
        self._say(f"{self.name}: building")
        status = self._process.wait()
        self._process = None
        if status:
            raise ChildProcessError(f"the builder ended with status {status}")

    def _replay(self, fresh: Shard) -> int:
        """Write to the new shard what was written to the old one, nearly all of it. Returns the log's offset."""
        self._say(f"{self.name}: replaying")
        done = 0
        for _ in range(REPLAY_PASSES):
            with self._engine:
                log, end = self._live_log(), self._live_log().size
            if end - done <= LAST_SLICE_BYTES:
                break
            while done < end:
                with self._engine:
                    done = _apply(fresh, log, done, min(done + SLICE_BYTES, end))
        return done

    def _switch(self, fresh: Shard, folder: Path, done: int) -> Shard:
        """Make the new shard the collection. Returns the old one."""
        with self.writing, self._engine:
            log = self._live_log()
            _apply(fresh, log, done, log.size)
            fresh.attributes.want(self.shard.attributes.kinds)
            fresh.flush()
            self._say(f"{self.name}: switching")
            edge_folders.switch(self._root, self.name, folder)
            self._say(f"{self.name}: switched")
            old, self.shard = self.shard, fresh
            return old

    def _live_log(self) -> WriteLog:
        if self._ending or self._log is None:
            raise InterruptedError("a write failed")
        return self._log

    def _discard(self, old: Shard) -> None:
        """A shard that cannot be closed or removed now is a leftover for the next time."""
        try:
            with self._engine:
                old.close()
            edge_folders.remove(old.path)
        except Exception as error:
            self._say(f"{old.path} is left over: {error!r}")

    def _clean_up(self, folder: Path, fresh: Shard | None) -> None:
        with self._engine:
            log, self._log = self._log, None
            if fresh:
                fresh.close()
        if log:
            log.close()
        edge_folders.lock_file(folder).unlink(missing_ok=True)
        if folder != self.shard.path:
            edge_folders.remove(folder)


def _apply(shard: Shard, log: WriteLog, begin: int, end: int) -> int:
    """Write the operations between two offsets. Returns the offset behind the last one."""
    for behind, operation, arguments in log.read(begin, end):
        getattr(shard, operation)(*arguments)
        begin = behind
    return begin


def is_due(since: float | None, seconds: float) -> bool:
    """Whether so much time has passed."""
    return since is not None and time.monotonic() - since >= seconds
