"""Which folder of `<data folder>/vectors/` holds a collection, and how another one takes its place.

    <collection>             the first shard of a collection
    <collection>.<number>    the one that took its place, or a copy that is to
    <collection>.current     the name of the folder in use; while this file is absent, it is <collection>
    <folder>.log             what was written since the folder was copied
    <folder>.lock            held by the process that builds in the folder; its id is in the file

The one step that counts is the replacing of `.current`, which is atomic: before it the old folder is the collection,
after it the new one, and every other folder is a leftover that `clear_leftovers` removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import IO

LOCK_SECONDS = 10.0
WORKER_FILES = frozenset({"worker.lock", "worker.log", "spawn.lock"})  # of collections called worker and spawn


def current_folder(root: Path, collection: str) -> Path:
    """The folder in use, which may not have been made yet.

    Raises:
        ValueError: the folder that took the first one's place is not there.
    """
    pointer = root / f"{collection}.current"
    try:
        name = pointer.read_text().strip()
    except FileNotFoundError:
        return root / collection
    folder = root / name
    if not (name == collection or name.startswith(f"{collection}.")) or folder.parent != root or not folder.is_dir():
        raise ValueError(f"{pointer} names {name!r}, which is not there: restore it, or delete this file and ingest")
    return folder


def next_folder(root: Path, collection: str) -> Path:
    """A name that the current folder does not have."""
    number = current_folder(root, collection).name[len(collection) + 1 :]
    return root / f"{collection}.{int(number or 0) + 1}"


def switch(root: Path, collection: str, folder: Path) -> None:
    """Make this folder, of which everything is on disk, the collection's."""
    pointer = root / f"{collection}.current"
    draft = root / f"{collection}.current.new"
    with draft.open("w") as file:
        file.write(folder.name)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(root)  # the folder's own name
    draft.replace(pointer)
    sync_folder(root)


def clear_leftovers(root: Path, collection: str) -> None:
    """End a builder that outlived its worker, and remove every folder of the collection but the current one.

    Raises:
        OSError: one cannot be removed, or the builder does not end.
    """
    current = current_folder(root, collection)
    for lock in root.glob(f"{collection}.*.lock"):
        _end_holder(lock)
    ours = re.compile(rf"{re.escape(collection)}(\.\d+)?(\.gone|\.log|\.lock)?|{re.escape(collection)}\.current\.new")
    for path in root.iterdir() if root.is_dir() else ():
        if path != current and ours.fullmatch(path.name) and path.name not in WORKER_FILES:
            remove(path)


def remove(path: Path) -> None:
    """Remove a folder or file, where there is one; a folder under another name, so that half of one is no whole."""
    if path.is_dir():
        doomed = path if path.suffix == ".gone" else path.with_name(f"{path.name}.gone")
        if doomed != path:
            shutil.rmtree(doomed, ignore_errors=True)
            path.rename(doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)


def hold_lock(folder: Path) -> IO[str]:
    """Take the lock of a folder that is built, and note who holds it. For the builder.

    Raises:
        FileNotFoundError: the worker that wanted the folder has gone, and its successor has tidied up.
        BlockingIOError: another builder is at it.
    """
    file = lock_file(folder).open("r+")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.write(str(os.getpid()))
    file.flush()
    return file


def lock_file(folder: Path) -> Path:
    """The lock of a folder that is built."""
    return folder.with_name(f"{folder.name}.lock")


def log_file(folder: Path) -> Path:
    """What was written since the folder was copied."""
    return folder.with_name(f"{folder.name}.log")


def sync_tree(folder: Path) -> None:
    """Return once every file of a folder is on disk."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _end_holder(lock: Path) -> None:
    """The lock is fresh with each build, so that an id in a lock that is held is its holder's."""
    deadline = time.monotonic() + LOCK_SECONDS
    with lock.open("r") as file:
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
            noted = lock.read_text()
            if noted:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(noted), signal.SIGKILL)
            time.sleep(0.02)
