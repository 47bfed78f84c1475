"""Uploads on disk: one flat file each, named by its id. What was acknowledged is whole there, whatever happens.

Bytes come in under a temporary name. They are synced, renamed and entered in the ledger, in this order, so that a kill
at any moment leaves a file that the ledger knows, or a leftover that the next start sweeps away. Whoever writes an
upload holds a lock on it, which the kernel takes from the dead: another process's uploads are not swept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Final

from rag.access import Caller
from rag.concurrency import in_thread
from rag.errors import InvalidInputError, StorageUnavailableError
from rag.ledger.files import FILE_ID, Files, StoredFile, draw_file_id, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag.assembly import Engine
    from rag.ledger.idempotency import Claim, KeptResponse

FOLDER: Final = "files"
PART: Final = ".part"
MAX_NAME_CHARACTERS: Final = 255

# They shape letters and emoji, and hide nothing.
_JOINERS: Final = "\u200c\u200d"


class Upload:
    """Bytes that are coming in. Made by `receiving`."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER
        self._lock = Lock()
        self._digest = hashlib.sha256()
        self._is_kept = False
        self.size_bytes = 0
        with _told():
            _make_folder(self._folder)
            self.id, self._file = _create(self._folder)

    @property
    def sha256(self) -> str:
        """Of what has come so far."""
        return self._digest.hexdigest()

    async def write(self, data: bytes) -> None:
        """Append a piece. Raises StorageUnavailableError when the disk does not take it."""
        await in_thread(self._write, data)

    async def sync(self) -> None:
        """Have the bytes on the disk before anybody is told of them. Raises as `write`."""
        await in_thread(self._sync)

    async def keep(
        self, files: Files, file: StoredFile, answered: tuple[Claim, KeptResponse] | None = None
    ) -> StoredFile:
        """Make it a file of the ledger; when this returns it is there for good. Call `sync` before.

        Args:
            answered: as Files.add takes it.
        """
        await in_thread(self._keep, files, file, answered)
        return file

    def _write(self, data: bytes) -> None:
        with self._lock, _told():
            self._file.write(data)
        self._digest.update(data)
        self.size_bytes += len(data)

    def _sync(self) -> None:
        with self._lock, _told():
            self._file.flush()
            os.fsync(self._file.fileno())

    def _keep(self, files: Files, file: StoredFile, answered: tuple[Claim, KeptResponse] | None) -> None:
        with self._lock, _told():
            (self._folder / f"{self.id}{PART}").rename(self._folder / self.id)
            # From here on the ledger decides. Whether it has the row is not known when it fails: a sweep will see.
            self._is_kept = True
            _sync_folder(self._folder)
            files.add(file, answered)

    def close(self) -> None:
        """Let go of it; the bytes go when nobody wanted to keep them."""
        with self._lock:
            if not self._is_kept:
                (self._folder / f"{self.id}{PART}").unlink(missing_ok=True)
            # What a full disk did not take is still in the buffer, and of no use any more.
            with suppress(OSError):
                self._file.close()


@asynccontextmanager
async def receiving(data_dir: Path) -> AsyncIterator[Upload]:
    """Take bytes in; they are removed at the end unless they were kept."""
    upload = await in_thread(Upload, data_dir)
    try:
        yield upload
    finally:
        await in_thread(upload.close)


async def store_upload(
    engine: Engine,
    pieces: AsyncIterator[bytes],
    *,
    filename: str,
    purpose: str = "assistants",
    caller: Caller = Caller(),  # noqa: B008 (frozen)
    expires_seconds: int | None = None,
) -> StoredFile:
    """Store a file that comes in pieces.

    Raises:
        InvalidInputError: the name names nothing.
        StorageUnavailableError: the disk or the ledger does not take it.
    """
    async with receiving(engine.settings.data_dir) as upload:
        async for piece in pieces:
            await upload.write(piece)
        await upload.sync()
        return await upload.keep(engine.files, described(upload, filename, purpose, caller, expires_seconds))


def described(
    upload: Upload, filename: str, purpose: str, caller: Caller, expires_seconds: int | None = None
) -> StoredFile:
    """The ledger's record of an upload that is whole. Raises InvalidInputError when the name names nothing."""
    now = time.time()
    return StoredFile(
        id=upload.id, tenant=caller.tenant, key_id=caller.key_id, filename=display_name(filename), purpose=purpose,
        size_bytes=upload.size_bytes, sha256=upload.sha256, created_at=now,
        expires_at=None if expires_seconds is None else int(now) + expires_seconds,
    )  # fmt: skip


def display_name(filename: str) -> str:
    """What an upload is called in lists and citations: the last part of a path, with every hidden character shown.

    Raises:
        InvalidInputError: it is empty, too long, holds NUL, or is a folder's name.
    """
    if len(filename) > MAX_NAME_CHARACTERS:
        raise InvalidInputError(f"The file's name is longer than {MAX_NAME_CHARACTERS} characters: shorten it.")
    name = re.split(r"[/\\]", filename)[-1]
    if "\0" in filename or name.strip() in {"", ".", ".."}:
        raise InvalidInputError("The file has no name: send one in `filename`, such as report.pdf.")
    return "".join(_shown(character) for character in name)


def path_of_upload(data_dir: Path, file_id: str) -> Path:
    """Where the bytes of a file lie. Raises NotFoundError for what cannot be the id of one."""
    if not FILE_ID.fullmatch(file_id):
        raise missing(file_id)
    return data_dir / FOLDER / file_id


def remove_bytes(data_dir: Path, file_id: str) -> None:
    """Take a file off the disk, if it is there. Raises StorageUnavailableError when the disk does not let it go."""
    with _told():
        path_of_upload(data_dir, file_id).unlink(missing_ok=True)


def sweep_leftovers(data_dir: Path, files: Files) -> int:
    """Remove the bytes of uploads that were never acknowledged, and of files that are deleted; returns how many."""
    folder = data_dir / FOLDER
    if not folder.is_dir():
        return 0
    names = [path.name for path in folder.iterdir() if FILE_ID.fullmatch(path.name.removesuffix(PART))]
    known = files.known([name for name in names if not name.endswith(PART)])
    return sum(_remove_if_dead(folder / name, files) for name in names if name not in known)


def _remove_if_dead(path: Path, files: Files) -> bool:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # It may have been acknowledged between the first look and the lock.
        if not path.name.endswith(PART) and files.find(path.name):
            return False
        path.unlink(missing_ok=True)
    return True


def _create(folder: Path) -> tuple[str, IO[bytes]]:
    while True:
        identity = draw_file_id()
        path = folder / f"{identity}{PART}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:  # else a sweep came in between the two
            return identity, os.fdopen(descriptor, "wb")
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told() -> Iterator[None]:
    """What the disk refuses, without the path: whoever uploads need not know where the data directory is."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailableError(
            f"Uploads cannot be written at present ({error.strerror}). Look at QUOTH_DATA_DIR: is its disk full, or "
            "read-only?"
        ) from error


def _shown(character: str) -> str:
    if unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} or character in _JOINERS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
