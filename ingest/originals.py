"""The bytes that a document was read from: of an upload, or of a file that still lies where it was ingested."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes, urlsplit

from ingest.freshness import Disk, roots_of
from ingest.source_files import Refused
from ingest.sources import source_at
from ingest.uploads import path_of_upload
from rag.errors import NotFoundError, ParseError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag.assembly import Engine
    from rag.ledger.documents import DocumentRecord

IN_MEMORY: Final = 1 << 20  # what is larger is copied to disk, so that slow readers cost no memory
_UPLOAD = re.compile(r"upload:///(file-[0-9a-f]{24})/")


@dataclass(frozen=True, slots=True)
class Original:
    """A copy of a document's file as it was indexed. `file` is at its beginning, and whoever has it closes it."""

    file: IO[bytes]
    size_bytes: int
    filename: str


def open_original(engine: Engine, document: DocumentRecord) -> Original:
    """Copy a document's file, if its bytes are still those that were indexed.

    Only what the ledger says was read is looked at: an upload under its id, or a file at or below a folder that was
    ingested into the document's store. A link that leads out of it is not followed.

    Raises:
        NotFoundError: the file has changed, has gone, or cannot be read any more.
    """
    upload = _UPLOAD.match(document.uri)
    name = os.fsdecode(unquote_to_bytes(urlsplit(document.uri).path.rpartition("/")[2]))
    copy: IO[bytes] = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - it is returned
    try:
        sha256 = _copy_upload(engine, upload[1], copy) if upload else _copy_file(engine, document, copy)
        if sha256 != document.source_sha256:
            raise _lost(document)
        size = copy.tell()
        copy.seek(0)
    except OSError as error:
        copy.close()
        raise StorageUnavailableError(f"The original cannot be copied ({error}). Is the disk full?") from error
    except BaseException:
        copy.close()
        raise
    return Original(copy, size, name)


def _copy_file(engine: Engine, document: DocumentRecord, copy: IO[bytes]) -> str:
    roots = roots_of(document.uri, Disk(engine, engine.documents.inspection(document.store_id)).roots)
    if not roots:
        raise _lost(document)
    file = source_at(document.uri, roots[-1], engine.settings.ingest)
    if isinstance(file, Refused):
        raise _lost(document)
    try:
        content = file.read(engine.settings.ingest.max_file_bytes)
    except ParseError:
        raise _lost(document) from None
    copy.write(content.data)
    return content.sha256


def _copy_upload(engine: Engine, file_id: str, copy: IO[bytes]) -> str:
    with _opened(engine, file_id) as file:
        if file is None:
            return ""
        shutil.copyfileobj(file, copy)
    copy.seek(0)
    sha256 = hashlib.file_digest(copy, "sha256").hexdigest()  # type: ignore[arg-type]
    copy.seek(0, os.SEEK_END)
    return sha256


@contextmanager
def _opened(engine: Engine, file_id: str) -> Iterator[IO[bytes] | None]:
    """The upload's file; None where it is gone."""
    path = path_of_upload(engine.settings.data_dir, file_id)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    with os.fdopen(descriptor, "rb") as file:
        yield file if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _lost(document: DocumentRecord) -> NotFoundError:
    return NotFoundError(
        f"The original of {document.id!r} is not at hand: its file has changed, has moved or is gone since it was "
        f"indexed. Its text is there: GET /v1/documents/{document.id}."
    )
