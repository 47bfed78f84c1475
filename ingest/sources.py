"""Walk files and folders, say of everything found whether it is read or why not, and read it without being tricked.

What counts as found: every regular file, symbolic link, special file and unreadable folder below a given path, except
what is hidden (a name that begins with a dot, and all below such a folder) and what tools leave behind
(`__pycache__`, `node_modules`, editors' backups and locks). Each of those found is yielded exactly once, as a
SourceFile or as Refused.

Symbolic links below a folder are followed where they stay inside it. What they lead to is read once: under its own
name if the walk meets that, else under the link's.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ingest.parsers.registry import format_of, supported_suffixes
from rag.errors import InvalidInputError, ParseError
from rag.settings import IngestSettings

Reason = Literal["outside_root", "duplicate", "not_regular", "unreadable", "too_large", "empty", "unsupported"]

_JUNK = re.compile(
    r"__pycache__|node_modules|Thumbs\.db|desktop\.ini|.*~|~\$.*|#.*#|.*\.(?:sw[a-p]|bak|tmp|part|crdownload)"
)
_READ_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be read.

    Attributes:
        path: as it was found, absolute.
        target: the same without symbolic links; what is opened.
        uri: `file://` and the path, percent-encoded byte for byte, so that any name survives.
        root_uri: of the given path that it was found below; its own for a file that was given itself.
        size_bytes: when it was found.
        mtime_ns: likewise.
        suffix: in lower case, with its dot; empty where there is none.
    """

    path: Path
    target: Path
    uri: str
    root_uri: str
    size_bytes: int
    mtime_ns: int
    suffix: str

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
        raise ParseError("changing", f"{_shown(self.path)} is being written to. It is read by the next run.")

    def _read_once(self, max_bytes: int) -> SourceBytes | None:
        # No link at the end, since it was resolved before; and a FIFO put in its place must not make us wait.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self.target, flags)
        except OSError as error:
            raise ParseError("unreadable", f"{_shown(self.path)} cannot be opened: {error.strerror}.") from error
        with os.fdopen(descriptor, "rb") as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise ParseError("not_regular", f"{_shown(self.path)} is no longer a file.")
            if Path(os.path.realpath(self.target)) != self.target:
                raise ParseError("outside_root", f"A folder above {_shown(self.path)} has become a link.")
            try:
                data = file.read(max_bytes + 1)
            except OSError as error:
                raise ParseError("unreadable", f"{_shown(self.path)} cannot be read: {error.strerror}.") from error
            after = os.fstat(file.fileno())
        if len(data) > max_bytes:
            raise ParseError("too_large", _too_large(self.path, max(after.st_size, len(data)), max_bytes))
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != after.st_size:
            return None
        if not data:
            raise ParseError("empty", f"{_shown(self.path)} is empty.")
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

    path: Path
    uri: str
    root_uri: str
    reason: Reason
    message: str

    @property
    def outcome(self) -> Literal["skipped", "failed"]:
        """Failed is what its owner would want read; all else is a choice."""
        return "failed" if self.reason == "unreadable" else "skipped"


def walk(paths: Sequence[Path], limits: IngestSettings) -> Iterator[SourceFile | Refused]:
    """Find the files at and below the given paths, folder by folder in the order of their names.

    Args:
        paths: files and folders; one that is a symbolic link stands for what it leads to. What two of them share is
            found once.
        limits: `max_file_bytes` of it counts here.

    Raises:
        InvalidInputError: a path does not exist; before anything is yielded.
    """
    roots = [_root(path) for path in paths]
    seen: set[Path] = set()
    for root in roots:
        yield from _Walk(root, limits.max_file_bytes, seen).run()


def root_uri(path: Path) -> str:
    """The URI that what is found at and below a given path carries as its `root_uri`.

    Raises:
        InvalidInputError: the path does not exist.
    """
    return _root(path).as_uri()


def _root(path: Path) -> Path:
    try:
        return path.expanduser().resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise InvalidInputError(f"There is nothing to read at {_shown(path)}. Check the path.") from error


class _Walk:
    """The walk below one root; `seen` holds the real paths of all walks of a run."""

    def __init__(self, root: Path, max_bytes: int, seen: set[Path]) -> None:
        self._root = root
        self._root_uri = root.as_uri()
        self._max_bytes = max_bytes
        self._seen = seen
        self._links: list[Path] = []

    def run(self) -> Iterator[SourceFile | Refused]:
        if not self._root.is_dir():
            if self._root not in self._seen:
                yield self._judge(self._root, self._root)
            return
        yield from self._folder(self._root, self._root)
        # Links come last, so that what they lead to goes by its own name where it has one that is walked.
        position = 0
        while position < len(self._links):  # a folder behind a link may hold more links
            yield from self._link(self._links[position])
            position += 1

    def _folder(self, path: Path, target: Path) -> Iterator[SourceFile | Refused]:
        """The files below `path`, which is really `target`, without recursion: folders may be nested deeply."""
        pending = [(path, target)]
        while pending:
            folder, real = pending.pop()
            if real in self._seen:
                continue
            self._seen.add(real)
            try:
                with os.scandir(folder) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError as error:
                yield self._refuse(folder, "unreadable", f"The folder cannot be opened: {error.strerror}.")
                continue
            inner = []
            for entry in entries:
                if entry.name.startswith(".") or _JUNK.fullmatch(entry.name):
                    continue
                if entry.is_symlink():
                    self._links.append(folder / entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    inner.append((folder / entry.name, real / entry.name))
                elif real / entry.name not in self._seen:
                    yield self._judge(folder / entry.name, real / entry.name)
            pending.extend(reversed(inner))

    def _link(self, path: Path) -> Iterator[SourceFile | Refused]:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            yield self._refuse(path, "unreadable", "The link leads nowhere, or in circles.")
            return
        if not target.is_relative_to(self._root):
            yield self._refuse(
                path, "outside_root", "The link leads out of the folder. Give its target as a path itself."
            )
        elif target in self._seen or self._root == target:
            yield self._refuse(path, "duplicate", "The link leads to what is found under its own name.")
        elif target.is_dir():
            yield from self._folder(path, target)
        else:
            yield self._judge(path, target)

    def _judge(self, path: Path, target: Path) -> SourceFile | Refused:  # noqa: PLR0911 - one reason a return
        """A file, or why it is not read."""
        self._seen.add(target)
        try:
            status = target.lstat()
        except OSError as error:
            return self._refuse(path, "unreadable", f"The file cannot be looked at: {error.strerror}.")
        if not stat.S_ISREG(status.st_mode):
            return self._refuse(path, "not_regular", "It is a pipe, a socket or a device, not a file.")
        if format_of(path.name) is None:
            return self._refuse(path, "unsupported", f"No parser reads it. Read are: {' '.join(supported_suffixes())}.")
        if status.st_size == 0:
            return self._refuse(path, "empty", "The file is empty.")
        if status.st_size > self._max_bytes:
            return self._refuse(path, "too_large", _too_large(path, status.st_size, self._max_bytes))
        if not os.access(target, os.R_OK):
            return self._refuse(path, "unreadable", "The file may not be read. Check its permissions.")
        return SourceFile(
            path=path,
            target=target,
            uri=path.as_uri(),
            root_uri=self._root_uri,
            size_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            suffix=path.suffix.lower(),
        )

    def _refuse(self, path: Path, reason: Reason, message: str) -> Refused:
        return Refused(path, path.as_uri(), self._root_uri, reason, message)


def _too_large(path: Path, size: int, most: int) -> str:
    return f"{_shown(path)} has {size:,} bytes, more than {most:,}. Split it, or raise QUOTH_INGEST__MAX_FILE_BYTES."


def _shown(path: Path) -> str:
    """A path as logs may have it: line feeds, escapes and bytes that are no text are written out."""
    return ascii(str(path)) if not str(path).isprintable() else f"'{path}'"
