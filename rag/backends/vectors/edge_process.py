"""Finding, starting and stopping the one Edge worker of a data folder. Blocking; clients call it in a thread.

In `<data folder>/vectors/` lie the collections and, of the worker:

    spawn.lock    held by the client that starts a worker, so that only one does
    worker.lock   held by the worker as long as it lives; only its holder touches the socket and worker.json
    worker.json   where the worker listens
    worker.log    its stderr

The socket lies in a folder of the user's own, because a socket's path must be short and a data folder's may be long.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rag.backends.vectors import wire
from rag.errors import StorageError, StorageUnavailableError

START_SECONDS = 30.0
MAX_SOCKET_PATH = 100
MAX_LOG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Workplace:
    """The files of one data folder's worker."""

    data_dir: Path

    @classmethod
    def of(cls, data_dir: Path) -> Workplace:
        """The workplace of this folder, whatever path leads to it."""
        return cls(data_dir.expanduser().resolve())

    @property
    def folder(self) -> Path:
        """Where the collections lie."""
        return self.data_dir / "vectors"

    @property
    def worker_lock(self) -> Path:
        """Held by the worker as long as it lives."""
        return self.folder / "worker.lock"

    @property
    def log(self) -> Path:
        """The worker's stderr."""
        return self.folder / "worker.log"

    @property
    def address_file(self) -> Path:
        """Where the worker says where it listens: clients may have another temporary folder than it has."""
        return self.folder / "worker.json"

    def address(self) -> str | None:
        """The socket of the worker that ran last, which may be gone; None if none ran in this folder."""
        try:
            noted = json.loads(self.address_file.read_text())
            return str(noted["socket"]) if noted["data_dir"] == str(self.data_dir) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # a copied folder names the original's worker, and a torn file names none


def make_socket_path(data_dir: Path) -> Path:
    """Where a new worker of this folder listens, in a folder that only this user can enter.

    Raises:
        StorageError: every candidate is too long, or belongs to somebody else.
    """
    name = hashlib.sha256(str(data_dir).encode()).hexdigest()[:24]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    for root in [*([Path(runtime)] if runtime else []), Path(tempfile.gettempdir()), Path("/tmp")]:  # noqa: S108
        path = root / f"quoth-{os.getuid()}" / f"{name}.sock"
        if len(os.fsencode(path)) < MAX_SOCKET_PATH and os.access(root, os.W_OK | os.X_OK):
            _own(path.parent)
            return path
    raise StorageError("There is no folder for the vector engine's socket: set TMPDIR to a short, writable path.")


def _own(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StorageError(f"{folder} is not a folder that only you can enter: remove it, or set TMPDIR elsewhere.")


def start(data_dir: Path, idle_seconds: float) -> None:
    """Return once a worker listens for this folder, starting it if there is none.

    Args:
        data_dir: resolved.
        idle_seconds: how long the worker stays without any client.

    Raises:
        StorageUnavailableError: it did not come up; the message quotes its log.
    """
    place = Workplace(data_dir)
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        with locked(place.folder / "spawn.lock"):
            if not _listens(place.address()):
                _spawn(place, idle_seconds)
    except OSError as error:
        raise StorageError(f"The vectors in {place.folder} cannot be opened: {error}.") from error


def stop_worker(data_dir: Path, timeout_seconds: float = START_SECONDS) -> bool:
    """End the worker of a data folder, everything flushed; the next call of a client starts another one.

    Returns:
        Whether one was running.

    Raises:
        StorageUnavailableError: it does not end within the time.
    """
    place = Workplace.of(data_dir)
    address = place.address()
    if address is None or not place.worker_lock.exists():
        return False
    running = False
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_seconds)
            connection.connect(address)
            running = True
            wire.ask(connection, "exit")
    except (OSError, EOFError, wire.FrameError):
        pass  # whether it has gone is told by its lock alone
    with place.worker_lock.open("a") as file:
        if not acquire(file, timeout_seconds):
            raise StorageUnavailableError(f"The vector engine of {data_dir} does not end. {_last_words(place)}")
    return running


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock; a holder that dies lets go of it."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def acquire(file: IO[str], timeout_seconds: float) -> bool:
    """Lock an open file, waiting up to a time; it stays locked until it is closed."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _listens(address: str | None) -> bool:
    if address is None:
        return False
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(address)
        except OSError:
            return False
        return True


def _spawn(place: Workplace, idle_seconds: float) -> None:
    """Start the worker, which forks once, so that it is nobody's child; it says `ready` when it listens."""
    package_root = str(Path(__file__).resolve().parents[3])
    command = [sys.executable, "-P", "-m", "rag.backends.vectors.edge_worker", str(place.data_dir)]
    command += ["--idle-seconds", str(idle_seconds), "--socket", str(make_socket_path(place.data_dir))]
    if place.log.exists() and place.log.stat().st_size > MAX_LOG_BYTES:
        place.log.unlink()
    with place.log.open("ab") as log:
        started = subprocess.Popen(  # noqa: S603
            command,
            cwd="/",
            env={**os.environ, "PYTHONPATH": _joined(package_root, os.environ.get("PYTHONPATH"))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        said, _ = started.communicate(timeout=START_SECONDS + 5)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, 9)  # the whole session: the child that forks has ended long before
        started.communicate()
        said = b""
    if said.strip() != b"ready":
        raise StorageUnavailableError(f"The vector engine of {place.data_dir} did not start. {_last_words(place)}")


def _joined(first: str, rest: str | None) -> str:
    return f"{first}{os.pathsep}{rest}" if rest else first


def _last_words(place: Workplace) -> str:
    lines = place.log.read_text(errors="replace").strip().splitlines() if place.log.exists() else []
    return f"{place.log} ends with: {lines[-1]}" if lines else f"{place.log} may say why."
