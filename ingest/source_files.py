"""A file that was found, and the reading of it without being tricked."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ingest.ignoring import shown
from ingest.strategy import Chunking
from rag.documents import AttributeValue
from rag.errors import ParseError

Reason = Literal[
    "outside_root", "duplicate", "not_regular", "unreadable", "too_large", "empty", "unsupported", "withdrawn"
]

_READ_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Terms:
    """How a file is to be indexed, where that is said of the single file: of uploads.

    Attributes:
        attributes: of its document, for filters.
        groups: that may read it; none for everyone who may read the store.
        chunking: None for the engine's own.
        sha256: of the bytes that were uploaded; empty where none is known.
    """

    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    chunking: Chunking | None = None
    sha256: str = ""

    @property
    def recipe(self) -> str:
        """What a document depends on besides its text and chunks, in short; empty where nothing is said."""
        if not self.attributes and not self.groups:
            return ""
        said = json.dumps([dict(self.attributes), self.groups], sort_keys=True)
        return f";terms={hashlib.sha256(said.encode()).hexdigest()[:16]}"


NO_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be read.

    Attributes:
        found_at: its path as it was found, absolute.
        real: the same without symbolic links; what is opened.
        uri: `file://` and the path, percent-encoded byte for byte, so that any name survives.
        root_uri: of the given path that it was found below; its own for a file that was given itself.
        size_bytes: when it was found.
        mtime_ns: likewise.
        suffix: in lower case, with its dot; empty where there is none.
        terms: how it is to be indexed.
    """

    found_at: str
    real: str
    uri: str
    root_uri: str
    size_bytes: int
    mtime_ns: int
    suffix: str
    terms: Terms = NO_TERMS

    @property
    def path(self) -> Path:
        """As it was found, absolute."""
        return Path(self.found_at)

    @property
    def target(self) -> Path:
        """The same without symbolic links; what is opened."""
        return Path(self.real)

    def read(self, max_bytes: int) -> SourceBytes:
        """Read the whole file, which may have `max_bytes`; again, a few times, when it changes meanwhile.

        Raises:
            ParseError: `unreadable`, `not_regular`, `outside_root` (it became a link), `too_large`, `empty`, or
                `changing` (it never held still).
        """
        for _ in range(_READ_ATTEMPTS):
            content = self._read_once(max_bytes)
            if content is not None:
                return content
        raise ParseError("changing", f"{shown(self.found_at)} is being written to. It is read by the next run.")

    def _read_once(self, max_bytes: int) -> SourceBytes | None:
        # No link at the end, since it was resolved before; and a FIFO put in its place must not make us wait.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        name = shown(self.found_at)
        try:
            descriptor = os.open(self.real, flags)
        except OSError as error:
            raise ParseError("unreadable", f"{name} cannot be opened: {error.strerror}.") from error
        with os.fdopen(descriptor, "rb") as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise ParseError("not_regular", f"{name} is no longer a file.")
            if os.path.realpath(self.real) != self.real:
                raise ParseError("outside_root", f"A folder above {name} has become a link.")
            try:
                data = file.read(max_bytes + 1)
            except OSError as error:
                raise ParseError("unreadable", f"{name} cannot be read: {error.strerror}.") from error
            after = os.fstat(file.fileno())
        if len(data) > max_bytes:
            raise ParseError("too_large", too_large(self.found_at, max(after.st_size, len(data)), max_bytes))
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != after.st_size:
            return None
        if not data:
            raise ParseError("empty", f"{name} is empty.")
        as_read = replace(self, size_bytes=len(data), mtime_ns=after.st_mtime_ns)
        return SourceBytes(as_read, data, hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class SourceBytes:
    """A file's content at one moment; `file` is as it was then, which may be later than it was found."""

    file: SourceFile
    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Something found that is not read, and why. `reason` is a stable word; `message` is for people."""

    found_at: str
    uri: str
    root_uri: str
    reason: Reason
    message: str

    @property
    def path(self) -> Path:
        """As it was found, absolute."""
        return Path(self.found_at)

    @property
    def outcome(self) -> Literal["skipped", "failed"]:
        """Failed is what its owner would want read; all else is a choice."""
        return "failed" if self.reason == "unreadable" else "skipped"


def too_large(path: str, size: int, most: int) -> str:
    """Why a file of this size is not read."""
    return f"{shown(path)} has {size:,} bytes, more than {most:,}. Split it, or raise QUOTH_INGEST__MAX_FILE_BYTES."
