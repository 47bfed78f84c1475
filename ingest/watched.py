"""The folders of a watch: whether they are there, which changes below them count, and where to look after them."""

# ruff: noqa: PTH112, PTH120 - events name paths as strings, which may be of nothing that is there

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ingest.ignored import is_ignored
from ingest.ignoring import IGNORE_FILE, LeftOut, joined, shown
from rag.errors import InvalidInputError

# More changed folders than these are not worth telling apart.
MOST_FOLDERS = 32


class Root:
    """A given path, and whether it is still what it was.

    Attributes:
        path: without links.
        text: the same.
        watched: the folder whose events are listened to: that of a file, since a file that is replaced is another.
        ready: set once changes are heard, or once it is clear that they will not be.
        is_gone: as its listener last knew.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.path = path.expanduser().resolve(strict=True)
            self._device = self.path.stat().st_dev
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
            raise InvalidInputError(f"There is nothing to watch at {shown(str(path))}. Check the path.") from error
        self.text = str(self.path)
        self.is_folder = self.path.is_dir()
        self.watched = self.path if self.is_folder else self.path.parent
        self.ready = asyncio.Event()
        self.is_gone = False
        self._heard = (0, 0)

    def holds(self, path: str) -> bool:
        """Whether a path is this root or lies below it."""
        return path == self.text or path.startswith(joined(self.text, ""))

    def is_there(self) -> bool:
        """Whether the root is there; an empty folder on another device is what an unmounted drive leaves behind."""
        try:
            if not self.is_folder or self.path.stat().st_dev == self._device:
                return self.path.exists()
            with os.scandir(self.path) as entries:
                return next(entries, None) is not None
        except OSError:
            return False

    def is_same(self) -> bool:
        """Whether the watched folder is still the one that `remember` saw; another one's events would not be heard."""
        with suppress(OSError):
            found = self.watched.stat()
            return (found.st_dev, found.st_ino) == self._heard
        return False

    def remember(self) -> None:
        """Take what is there now for the root. Raises OSError."""
        self._device = self.path.stat().st_dev
        found = self.watched.stat()
        self._heard = found.st_dev, found.st_ino


def changes_that_count(root: Root, changed: Iterable[str], leave_out: Sequence[str]) -> list[str]:
    """The changed paths that a walk would find, and `.quothignore` files where one would find what lies beside them.

    Args:
        root: what is watched.
        changed: paths at or below its watched folder.
        leave_out: folders without links whose changes do not count.
    """
    left_out = LeftOut(root.path)
    counted = []
    for path in changed:
        if not root.holds(path) or any(f"{path}/".startswith(f"{folder}/") for folder in leave_out):
            continue
        folder, name = os.path.split(path)
        asked = folder if name == IGNORE_FILE else path
        try:
            counts = asked == root.text or left_out.why(Path(asked)) is None
        except InvalidInputError:  # rules that cannot be understood: the run says so
            counts = True
        if counts:
            counted.append(path)
    return counted


def affected_folders(roots: Sequence[Root], changed: Iterable[str]) -> list[Path]:
    """The fewest folders to walk so that all changes are seen.

    That is the deepest folder that is there and holds the change, or is it. A root is walked whole when links lie in
    that folder, because they may lead to what lies elsewhere in the root, and when many folders have changed.

    Args:
        roots: those that are there; changes below no root are dropped.
        changed: paths of files and folders, there or not.
    """
    folders: dict[str, Root] = {}
    for path in changed:
        root = max((root for root in roots if root.holds(path)), key=lambda root: len(root.text), default=None)
        if root is not None:
            folders[_folder_of(path, root)] = root
    too_many = len(folders) > MOST_FOLDERS
    wanted = {
        root.text if too_many or (folder != root.text and _has_links(folder)) else folder
        for folder, root in folders.items()
    }
    kept: list[str] = []
    for folder in sorted(wanted, key=lambda folder: folder.split("/")):
        if not kept or not folder.startswith(joined(kept[-1], "")):
            kept.append(folder)
    return [Path(folder) for folder in kept]


def _folder_of(path: str, root: Root) -> str:
    """The deepest folder at or above a path that is there and behind no link; the root above all."""
    while len(path) > len(root.text):
        if os.path.isdir(path) and os.path.realpath(path) == path:
            return path
        path = os.path.dirname(path)
    return root.text


def _has_links(folder: str) -> bool:
    """Whether a walk of a folder would meet links."""
    pending = [folder]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if is_ignored(entry.name):
                    continue
                if entry.is_symlink():
                    return True
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return False
