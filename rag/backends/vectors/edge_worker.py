"""The process that owns the Edge engine of one data folder: `python -m rag.backends.vectors.edge_worker`.

Clients come over a unix socket, each in a thread of its own, and are served one at a time, because the engine holds
the interpreter's lock anyway. The process ends when nobody has been connected for a while, on SIGTERM, and when a
client asks for it (one of another version does); it flushes first. Written operations are in the engine's log when
they are acknowledged, so killing the process loses none.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from rag.backends.vectors import wire
from rag.backends.vectors.edge_build import WRITES, Collection
from rag.backends.vectors.edge_config import Indexing
from rag.backends.vectors.edge_process import START_SECONDS, Workplace, acquire

FLUSH_SECONDS = 3.0
PURGE_SECONDS = 20.0  # what was deleted is gone from the files within a minute, and many deletions cost one purge
READS = frozenset({"search", "count", "identities", "vectors"})


class Worker:
    """The open collections of one data folder, and who is connected."""

    def __init__(self, place: Workplace, idle_seconds: float) -> None:
        self._place = place
        self._idle_seconds = idle_seconds
        self._collections: dict[str, Collection] = {}
        self._engine = threading.Lock()
        self._clients = 0
        self._clients_lock = threading.Lock()
        self._last_seen = time.monotonic()
        self._wake, self._woken = socket.socketpair()

    def run(self, listener: socket.socket) -> str:
        """Serve until there is a reason to end, and return it; everything is flushed then."""
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select(timeout=self._patience())]
                if self._woken in ready:
                    return self._finish("asked to end", purge=False)
                if listener in ready:
                    self._welcome(listener.accept()[0])
                self._tidy()
                if self._is_idle() and time.monotonic() - self._last_seen >= self._idle_seconds:
                    return self._finish("idle", purge=True)

    def stop(self) -> None:
        """Make `run` return; fit for a signal handler."""
        self._wake.send(b".")

    def _is_idle(self) -> bool:
        """An index that is being built is worth waiting for: else one who ingests and leaves would never get it."""
        return not self._clients and not any(each.is_building for each in list(self._collections.values()))

    def _patience(self) -> float:
        idle_left = self._last_seen + self._idle_seconds - time.monotonic()
        return max(0.0, min(FLUSH_SECONDS, idle_left)) if self._is_idle() else min(FLUSH_SECONDS, self._idle_seconds)

    def _tidy(self) -> None:
        """Flush what waits for it, drop from the files what was deleted, build what is due."""
        with self._engine:
            for collection in self._collections.values():
                try:
                    collection.tidy(FLUSH_SECONDS, PURGE_SECONDS)
                except Exception as error:
                    log(f"tidying failed, and is tried again: {error!r}")

    def _finish(self, reason: str, *, purge: bool) -> str:
        """Close the collections and keep the engine's lock, so that no later request reaches them."""
        self._engine.acquire()
        for collection in self._collections.values():
            collection.end(purge=purge)
        return reason

    def _welcome(self, connection: socket.socket) -> None:
        with self._clients_lock:
            self._clients += 1
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                while True:
                    connection.sendall(wire.pack(self._answer(wire.receive(connection))))
        except (EOFError, OSError):
            pass  # the client has gone
        except wire.FrameError as error:
            log(f"dropped a client: {error}")
        finally:
            with self._clients_lock:
                self._clients -= 1
                self._last_seen = time.monotonic()

    def _answer(self, request: Any) -> tuple[wire.Outcome, Any]:
        """Do what is asked. The engine raises bare exceptions, and its panics are not even those."""
        try:
            return "done", self._do(request)
        except Exception as error:
            log(f"{_name_of(request)} failed: {error!r}")
            return "failed", str(error)
        except BaseException as panic:
            log(f"{_name_of(request)} broke the engine: {panic!r}")
            os._exit(70)

    def _do(self, request: Any) -> Any:
        match request:
            case ["hello"]:
                return wire.PROTOCOL, str(self._place.data_dir), os.getpid()
            case ["exit"]:
                return self.stop()
            case ["open", str(name), int(dimension), int(index_from), bool(quantised)]:
                with self._engine:
                    return self._open(name, dimension, Indexing(index_from, quantised))
            case [str(operation), str(name), *arguments] if operation in READS:
                with self._engine:
                    return getattr(self._collections[name].shard, operation)(*arguments)
            case [str(operation), str(name), *arguments] if operation in WRITES:
                collection = self._collections[name]
                with collection.writing, self._engine:
                    return collection.write(operation, arguments)
        raise ValueError("the request is not known")

    def _open(self, name: str, dimension: int, indexing: Indexing) -> None:
        """Open a collection. The client that came last says when it is indexed."""
        collection = self._collections.get(name)
        if collection is None:
            self._collections[name] = Collection(self._place.folder, name, dimension, indexing, self._engine, log)
        elif collection.shard.dimension != dimension:
            raise ValueError(f"its vectors have {collection.shard.dimension} dimensions")
        else:
            collection.indexing = indexing


def _name_of(request: Any) -> str:
    return str(request[0]) if isinstance(request, list) and request else "a request"


def log(message: str) -> None:
    """A line on stderr, which is the log file."""
    sys.stderr.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {os.getpid()} {message}\n")
    sys.stderr.flush()


def main() -> None:
    """Leave the client's process tree, take the folder, listen, say so, serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--idle-seconds", type=float, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    arguments = parser.parse_args()
    # Nothing of the engine runs yet: a fork with its threads would hang
    if os.fork():
        os._exit(0)
    place = Workplace(arguments.data_dir)
    place.folder.mkdir(parents=True, exist_ok=True)
    with place.worker_lock.open("a") as lock:
        if not acquire(lock, START_SECONDS):
            log("another worker does not let go of this folder")
            sys.exit(1)
        _serve_folder(place, arguments.socket, arguments.idle_seconds)


def _serve_folder(place: Workplace, path: Path, idle_seconds: float) -> None:
    worker = Worker(place, idle_seconds)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(128)
        _announce(place, path)
        log(f"listens on {path}")
        _say_ready(sys.stdout)
        reason = worker.run(listener)
        path.unlink(missing_ok=True)
    log(f"ends: {reason}")
    os._exit(0)  # threads still wait for clients and for the engine's lock


def _announce(place: Workplace, path: Path) -> None:
    note = {"socket": str(path), "data_dir": str(place.data_dir), "pid": os.getpid()}
    draft = place.address_file.with_suffix(".new")
    draft.write_text(json.dumps(note))
    draft.replace(place.address_file)


def _say_ready(stdout: IO[str]) -> None:
    """The client reads until the end of this pipe, which is inherited and so must really be closed."""
    stdout.write("ready\n")
    stdout.flush()
    with Path(os.devnull).open("w") as sink:
        os.dup2(sink.fileno(), stdout.fileno())


if __name__ == "__main__":
    main()
