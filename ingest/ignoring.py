"""What is left out of a folder on purpose: hidden names, what tools leave behind, and what `.quothignore` names.

A `.quothignore` has the syntax of gitignore and holds for everything below its folder, whichever path is given: those
of all folders above a given path count too. The last pattern that fits decides, those of the inner file before those
of the outer, and `!` takes something back in. A folder that is left out is not entered, so nothing below it can be
taken back in.

Other than git: a link to a folder counts as a folder, a file that cannot be understood is an error instead of being
passed over, because it would let in what its owner meant to leave out, and `.gitignore` is not read.
"""

# ruff: noqa: PTH100, PTH112, PTH120 - paths are strings here, and links must stay as they were found

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from ingest.ignored import is_ignored
from rag.errors import InvalidInputError

IGNORE_FILE = ".quothignore"
MAX_IGNORE_BYTES = 1 << 20

# Each wildcard multiplies the steps that a name can cost, and the file may come from a stranger.
_MOST_STARS = 5
_TWICE_READ = ("[", "\\", "--", "&&", "||", "~~")


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a `.quothignore`.

    Attributes:
        place: the file and the line's number, counted from 1.
        pattern: as it is written there.
        leaves_out: False for a pattern with `!`.
        folders_only: the pattern ends with a slash.
        slashes: how many there are in a path that fits; None for any number, -1 when the name alone is compared.
        regex: what the name, or the path below the file's folder, is compared with.
    """

    place: str
    pattern: str
    leaves_out: bool
    folders_only: bool
    slashes: int | None
    regex: re.Pattern[str]

    def fits(self, below: str, name: str, *, is_folder: bool) -> bool:
        """Whether the rule names this itself, and not only a folder above it."""
        if self.folders_only and not is_folder:
            return False
        if self.slashes == -1:
            return self.regex.search(name) is not None
        if self.slashes is not None and self.slashes != below.count("/"):
            return False
        match = self.regex.search(below)
        return match is not None and (not match.lastgroup or match.end() == len(below))


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one folder's `.quothignore`, the last line first, and those of the folders above."""

    prefix: str
    own: tuple[Rule, ...]
    outer: Rules | None

    def deciding(self, path: str, name: str, *, is_folder: bool) -> Rule | None:
        """The rule that decides about what lies at `path`, called `name`; None where none names it."""
        if "\n" in path:  # the library's dots and dollars treat a line feed as an end, and no name holds a NUL
            path, name = path.replace("\n", "\0"), name.replace("\n", "\0")
        here: Rules | None = self
        while here is not None:
            below = path[len(here.prefix) :]
            for rule in here.own:
                if rule.fits(below, name, is_folder=is_folder):
                    return rule
            here = here.outer
        return None

    def leave_out(self, path: str, name: str, *, is_folder: bool) -> bool:
        """Whether what lies at `path`, called `name`, is left out."""
        rule = self.deciding(path, name, is_folder=is_folder)
        return rule is not None and rule.leaves_out


def rules_above(folder: str) -> Rules | None:
    """The rules of all folders above an absolute path, its own not among them. Raises as `rules_in`."""
    rules: Rules | None = None
    above = "/"
    for part in folder.split("/")[1:]:
        rules = rules_in(above, rules)
        above = joined(above, part)
    return rules


def rules_in(folder: str, outer: Rules | None) -> Rules | None:
    """The rules for what lies in a folder: those of its `.quothignore`, and the outer ones.

    Raises:
        InvalidInputError: the `.quothignore` cannot be read, or holds what is no pattern.
    """
    path = joined(folder, IGNORE_FILE)
    data = _read(path)
    if data is None:
        return outer
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(f"{shown(path)}, line {line}, is not UTF-8. Save the file as UTF-8.") from error
    rules = [_rule(line.removesuffix("\r"), f"{path}:{number}") for number, line in enumerate(text.split("\n"), 1)]
    own = tuple(rule for rule in reversed(rules) if rule is not None)
    return Rules(joined(folder, ""), own, outer) if own else outer


def joined(folder: str, name: str) -> str:
    """The path of `name` in a folder."""
    return f"{folder}{name}" if folder.endswith("/") else f"{folder}/{name}"


def shown(text: str) -> str:
    """A name or path as logs may have it: line feeds, escapes and bytes that are no text are written out."""
    return f"'{text}'" if text.isprintable() else ascii(text)


class LeftOut:
    """Says of paths below a root why they are left out; every `.quothignore` is read once."""

    def __init__(self, root: Path) -> None:
        self._given = os.path.abspath(root)
        self._root = os.path.realpath(root)
        self._rules: dict[str, Rules | None] = {}

    def why(self, path: Path) -> str | None:
        """The rule that leaves a path out. Raises as `why_ignored`."""
        folder = self._root
        parts = self._below(os.path.abspath(path))
        for position, name in enumerate(parts):
            if name.startswith("."):
                return f"hidden name {shown(name)}"
            if is_ignored(name):
                return f"left behind by a tool: {shown(name)}"
            here = joined(folder, name)
            rules = self._rules_of(folder)
            is_folder = position < len(parts) - 1 or os.path.isdir(here)
            rule = rules.deciding(here, name, is_folder=is_folder) if rules else None
            if rule is not None and rule.leaves_out:
                return f"{rule.place}: {rule.pattern}"
            folder = here
        return None

    def _below(self, path: str) -> list[str]:
        for root in (self._given, self._root):
            if path == root:
                return []
            if path.startswith(joined(root, "")):
                return path[len(joined(root, "")) :].split("/")
        raise InvalidInputError(f"{shown(path)} does not lie below {shown(self._root)}. Name the folder above it.")

    def _rules_of(self, folder: str) -> Rules | None:
        if folder not in self._rules:
            # Asked from the root downwards, so that the folder above is known, unless this is the root.
            outer = rules_above(folder) if folder == self._root else self._rules[os.path.dirname(folder)]
            self._rules[folder] = rules_in(folder, outer)
        return self._rules[folder]


def why_ignored(path: Path, root: Path) -> str | None:
    """Say which rule leaves out what lies at `path` were `root` given: a hidden name, a tool's leftovers, a pattern.

    Args:
        path: at or below `root`; need not exist.
        root: a given folder or file. What is given itself is never left out.

    Returns:
        `FILE:LINE: PATTERN` for a pattern, a phrase for a name, None for what is found.

    Raises:
        InvalidInputError: `path` is not below `root`, or a `.quothignore` cannot be understood.
    """
    return LeftOut(root).why(path)


def _read(path: str) -> bytes | None:
    """A `.quothignore`'s bytes; None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidInputError(f"{shown(path)} is not a file. Remove it, or put a file of patterns there.")
            data = file.read(MAX_IGNORE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENOTDIR:  # below a file that was given itself
            return None
        why = "is a link, which is not followed here" if error.errno == errno.ELOOP else str(error.strerror).lower()
        raise InvalidInputError(
            f"{shown(path)} cannot be read: {why}. Put a readable file there, or remove it."
        ) from error
    if len(data) > MAX_IGNORE_BYTES:
        raise InvalidInputError(f"{shown(path)} has more than {MAX_IGNORE_BYTES:,} bytes. Shorten it.")
    return data


def _rule(line: str, place: str) -> Rule | None:
    """One line as a rule; None for a comment or an empty line. Raises InvalidInputError."""
    written = _without_trailing_spaces(line)
    if not written or written.startswith("#"):
        return None
    negated = written.startswith("!")
    body = written[1:] if negated else written
    folders_only = body.endswith("/")
    # The slash at the end is asked about in `Rule.fits`; the library's own reading of it would also name what lies
    # below, which here is settled by not entering the folder.
    body = body.removesuffix("/")
    _require_plain(body, place)
    try:
        spec = GitIgnoreSpec.from_lines([("!" if negated else "") + _with_visible_end(body)])
    except (ValueError, re.error) as error:
        raise _not_a_pattern(place, "it cannot be understood") from error
    regexes = [pattern.regex for pattern in spec.patterns if pattern.regex is not None]
    if not regexes:
        raise _not_a_pattern(place, "it names nothing")
    segments = body.removeprefix("/").split("/")
    slashes = None if "**" in segments else len(segments) - 1
    if "/" not in body and body != "**":
        slashes = -1
    return Rule(place, written, not negated, folders_only, slashes, regexes[0])


def _without_trailing_spaces(line: str) -> str:
    """A line without the spaces at its end, save one behind a backslash."""
    end = len(line)
    while end and line[end - 1] == " ":
        before = line[: end - 1]
        if (len(before) - len(before.rstrip("\\"))) % 2:
            break
        end -= 1
    return line[:end]


def _with_visible_end(body: str) -> str:
    """The pattern with white space at its end written as a set, since the library would cut it off."""
    if not body[-1:].isspace():
        return body
    kept = body[:-1]
    escaped = (len(kept) - len(kept.rstrip("\\"))) % 2
    return f"{kept[:-1] if escaped else kept}[{body[-1]}]"


def _require_plain(body: str, place: str) -> None:
    """Refuse what the library reads otherwise than git does, and what could take for ever."""
    if any(segment != "**" and len(re.findall(r"\*+", segment)) > _MOST_STARS for segment in body.split("/")):
        raise _not_a_pattern(place, f"a name in it has more than {_MOST_STARS} asterisks")
    if body.split("/").count("**") > _MOST_STARS:
        raise _not_a_pattern(place, f"it has more than {_MOST_STARS} times **")
    for found in re.finditer(r"\\.|\[[!^]?(\]?[^\]]*)(\])?", body):
        if found[0].startswith("\\"):
            continue
        if found[2] is None or "/" in found[0]:
            raise _not_a_pattern(place, "a set in it has no closing bracket. Write \\[ for a bracket itself")
        if any(sign in found[1] for sign in _TWICE_READ):
            raise _not_a_pattern(
                place, f"a set in it holds one of {' '.join(_TWICE_READ)}. Write its characters singly"
            )


def _not_a_pattern(place: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{shown(place)} is not a pattern that can be used: {why}. Correct the line, or remove it."
    )
