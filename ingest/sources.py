"""Walk files and folders, and say of everything found whether it is read or why not.

What counts as found: every regular file, symbolic link, special file and unreadable folder below a given path, except

* what is hidden: a name that begins with a dot, and all below such a folder;
* what tools leave behind: `__pycache__`, `node_modules`, editors' backups and locks;
* what a `.quothignore` leaves out, in its own folder or in any folder above (`ingest.ignoring` has the syntax).

What is given itself is always found, whatever its name and whatever the rules say of it; they hold for what lies below
it. Each of those found is yielded exactly once, as a SourceFile or as Refused.

Symbolic links below a folder are followed where they stay inside it. What they lead to is read once: under its own
name if the walk meets that, else under the link's. Names and rules are asked about the path as it was found, not about
what a link leads to.
"""

# ruff: noqa: PTH112 - paths are strings here, since there may be millions of them

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ingest.ignored import is_ignored
from ingest.ignoring import IGNORE_FILE, Rules, joined, rules_above, rules_in, shown
from ingest.parsers.registry import ARCHIVE_SUFFIXES, format_of, supported_suffixes
from ingest.source_files import Reason, Refused, SourceFile, Terms, too_large
from rag.errors import InvalidInputError
from rag.settings import IngestSettings

_LEADS_OUT = "The link leads out of the folder. Give its target as a path itself."


def walk(paths: Sequence[Path], limits: IngestSettings) -> Iterator[SourceFile | Refused]:
    """Find the files at and below the given paths, folder by folder in the order of their names.

    Holds the names of one folder at a time, and the path of every folder.

    Args:
        paths: files and folders; one that is a symbolic link stands for what it leads to. What two of them share is
            found once.
        limits: `max_file_bytes` and `read_archives` of it count here.

    Raises:
        InvalidInputError: a path does not exist, before anything is yielded; or a `.quothignore` cannot be understood,
            when the walk comes to it.
    """
    roots = [(root, rules_above(root)) for root in (str(_root(path)) for path in paths)]
    met = _Met()
    for root, rules in roots:
        yield from _Walk(root, rules, limits, met).run()


def source_at(uri: str, root_uri: str, limits: IngestSettings) -> SourceFile | Refused:
    """Look again at a file that a walk found before; its name and the rules are not asked again.

    Args:
        uri: as the walk gave it.
        root_uri: likewise.
        limits: as for `walk`.

    Returns:
        The file as it is now, or why it is not read: `unreadable` where it is gone, `outside_root` where the URI is
        none that a walk of `root_uri` can have given or a link now leads elsewhere.
    """
    path, root = _path_of(uri), _path_of(root_uri)
    if path is None or root is None or not _is_at_or_below(path, root):
        message = "It does not lie in the folder that it was found in. Ingest the folder again."
        return Refused(path or uri, uri, root_uri, "outside_root", message)
    judge = _Judge(root_uri, limits)
    try:
        real = os.path.realpath(path, strict=True)
    except OSError as error:
        return judge.refuse(path, uri, "unreadable", _no_look(error))
    if not _is_at_or_below(real, root):
        return judge.refuse(path, uri, "outside_root", _LEADS_OUT)
    return judge.judge(path, real, uri)


def judge_at(
    name: str, real: str, uri: str, root_uri: str, limits: IngestSettings, terms: Terms
) -> SourceFile | Refused:
    """A file that lies elsewhere than its name says: an upload.

    Args:
        name: what it is called; its parser is chosen by that.
        real: its path without links.
    """
    judged = _Judge(root_uri, limits).judge(name, real, uri)
    return replace(judged, terms=terms) if isinstance(judged, SourceFile) else judged


def path_of(uri: str) -> Path:
    """The path of a `file://` URI that a walk gave, byte for byte. Raises InvalidInputError for any other."""
    path = _path_of(uri)
    if path is None:
        raise InvalidInputError(f"{uri!r} is the URI of no file.")
    return Path(path)


def root_uri(path: Path) -> str:
    """The URI that what is found at and below a given path carries as its `root_uri`.

    Raises:
        InvalidInputError: the path does not exist.
    """
    return _uri_of(str(_root(path)))


def _root(path: Path) -> Path:
    try:
        return path.expanduser().resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise InvalidInputError(f"There is nothing to read at {shown(str(path))}. Check the path.") from error


class _Met:
    """What the walks of a run have met, by real paths.

    A file in a folder that was walked is known by its folder, so only folders are held, and the few files that were
    met elsewhere.
    """

    def __init__(self) -> None:
        # The path that a folder was walked by and the rules that held in it; None for one that could not be opened.
        self.folders: dict[str, tuple[str, Rules | None] | None] = {}
        self.files: set[str] = set()

    def has(self, target: str) -> bool:
        """Whether what lies at a path without links was met."""
        if target in self.folders or target in self.files:
            return True
        parent, name = os.path.split(target)
        walked = self.folders.get(parent)
        if walked is None or is_ignored(name):
            return False
        folder, rules = walked
        return rules is None or not rules.leave_out(joined(folder, name), name, is_folder=os.path.isdir(target))


class _Judge:
    """Decides about single files below one root."""

    def __init__(self, root_uri: str, limits: IngestSettings) -> None:
        self._root_uri = root_uri
        self._max_bytes = limits.max_file_bytes
        self._read_archives = limits.read_archives

    def judge(self, path: str, target: str, uri: str) -> SourceFile | Refused:  # noqa: PLR0911 - one reason a return
        """A file, or why it is not read."""
        try:
            status = os.lstat(target)
        except OSError as error:
            return self.refuse(path, uri, "unreadable", _no_look(error))
        name = path[path.rfind("/") + 1 :]
        suffix = _suffix(name)
        if not stat.S_ISREG(status.st_mode):
            return self.refuse(path, uri, "not_regular", "It is a pipe, a socket or a device, not a file.")
        if format_of(name) is None:
            return self.refuse(path, uri, "unsupported", _unsupported())
        if suffix in ARCHIVE_SUFFIXES and not self._read_archives:
            return self.refuse(path, uri, "unsupported", "Archives are not read. Set QUOTH_INGEST__READ_ARCHIVES=true.")
        if status.st_size == 0:
            return self.refuse(path, uri, "empty", "The file is empty.")
        if status.st_size > self._max_bytes:
            return self.refuse(path, uri, "too_large", too_large(path, status.st_size, self._max_bytes))
        if not os.access(target, os.R_OK):
            return self.refuse(path, uri, "unreadable", "The file may not be read. Check its permissions.")
        return SourceFile(path, target, uri, self._root_uri, status.st_size, status.st_mtime_ns, suffix)

    def refuse(self, path: str, uri: str, reason: Reason, message: str) -> Refused:
        return Refused(path, uri, self._root_uri, reason, message)


class _Walk:
    """The walk below one root; `met` is shared by all walks of a run. Paths are strings, as there may be millions."""

    def __init__(self, root: str, rules: Rules | None, limits: IngestSettings, met: _Met) -> None:
        self._root = root
        self._rules = rules
        self._met = met
        self._judge = _Judge(_uri_of(root), limits)
        self._links: list[tuple[str, Rules | None]] = []

    def run(self) -> Iterator[SourceFile | Refused]:
        if not os.path.isdir(self._root):
            if not self._met.has(self._root):
                self._met.files.add(self._root)
                yield self._judge.judge(self._root, self._root, _uri_of(self._root))
            return
        yield from self._folder(self._root, self._root, self._rules)
        # Links come last, so that what they lead to goes by its own name where it has one that is walked.
        position = 0
        while position < len(self._links):  # a folder behind a link may hold more links
            yield from self._link(*self._links[position])
            position += 1

    def _folder(self, path: str, target: str, outer: Rules | None) -> Iterator[SourceFile | Refused]:
        """The files below `path`, which is really `target`, without recursion: folders may be nested deeply."""
        pending = [(path, target, outer)]
        while pending:
            folder, real, above = pending.pop()
            if real in self._met.folders:
                continue
            self._met.folders[real] = None
            try:
                names = _names_in(folder)
            except OSError as error:
                message = f"The folder cannot be opened: {error.strerror}."
                yield self._judge.refuse(folder, _uri_of(folder), "unreadable", message)
                continue
            rules = rules_in(folder, above) if names.has_rules else above
            self._met.folders[real] = folder, rules
            yield from self._files(folder, real, names.files, rules)
            for name in names.links:
                link = joined(folder, name)
                if rules is None or not rules.leave_out(link, name, is_folder=os.path.isdir(link)):
                    self._links.append((link, rules))
            for name in reversed(names.folders):
                inner = joined(folder, name)
                if rules is None or not rules.leave_out(inner, name, is_folder=True):
                    pending.append((inner, joined(real, name), rules))

    def _files(
        self, folder: str, real: str, names: Sequence[str], rules: Rules | None
    ) -> Iterator[SourceFile | Refused]:
        here, there, uri = joined(folder, ""), joined(real, ""), joined(_uri_of(folder), "")
        for name in names:
            path = here + name
            target = path if folder == real else there + name
            if target in self._met.files or (rules is not None and rules.leave_out(path, name, is_folder=False)):
                continue
            yield self._judge.judge(path, target, uri + quote_from_bytes(os.fsencode(name)))

    def _link(self, path: str, rules: Rules | None) -> Iterator[SourceFile | Refused]:
        uri = _uri_of(path)
        try:
            target = os.path.realpath(path, strict=True)
        except OSError:
            yield self._judge.refuse(path, uri, "unreadable", "The link leads nowhere, or in circles.")
            return
        if not _is_at_or_below(target, self._root):
            yield self._judge.refuse(path, uri, "outside_root", _LEADS_OUT)
        elif self._met.has(target):
            yield self._judge.refuse(path, uri, "duplicate", "The link leads to what is found under its own name.")
        elif os.path.isdir(target):
            yield from self._folder(path, target, rules)
        else:
            self._met.files.add(target)
            yield self._judge.judge(path, target, uri)


@dataclass(slots=True)
class _Names:
    """What lies in a folder, each in order."""

    files: list[str]
    folders: list[str]
    links: list[str]
    has_rules: bool


def _names_in(folder: str) -> _Names:
    """What lies in a folder, save what is hidden or left behind. Raises OSError."""
    names = _Names([], [], [], has_rules=False)
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if is_ignored(name):
                names.has_rules = names.has_rules or name == IGNORE_FILE
            elif entry.is_symlink():
                names.links.append(name)
            elif entry.is_dir(follow_symlinks=False):
                names.folders.append(name)
            else:
                names.files.append(name)
    for each in (names.files, names.folders, names.links):
        each.sort()
    return names


def _uri_of(path: str) -> str:
    """As Path.as_uri, without the Path."""
    return "file://" + quote_from_bytes(os.fsencode(path))


def _path_of(uri: str) -> str | None:
    """The path that `_uri_of` made this URI of, byte for byte; None when it made none such of a clean path."""
    path = os.fsdecode(unquote_to_bytes(uri.removeprefix("file://")))
    is_clean = path == "/" or (path.startswith("/") and {"", ".", ".."}.isdisjoint(path[1:].split("/")))
    return path if is_clean and "\0" not in path and _uri_of(path) == uri else None


def _is_at_or_below(path: str, root: str) -> bool:
    return path == root or path.startswith(joined(root, ""))


def _suffix(name: str) -> str:
    """As PurePath.suffix, in lower case."""
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


@cache
def _unsupported() -> str:
    return f"No parser reads it. Read are: {' '.join(supported_suffixes())}."


def _no_look(error: OSError) -> str:
    return f"The file cannot be looked at: {error.strerror}."
