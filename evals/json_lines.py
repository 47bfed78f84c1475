"""Lines of data files, each with its number, and their fields, each of the type that it should have.

A byte order mark at the beginning, CRLF and blank lines do no harm. What is wrong is an InvalidInputError that names
file and line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rag.errors import InvalidInputError
from rag.tokens import replace_surrogates


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file; `number` counts from 1."""

    path: Path
    number: int
    text: str

    def fail(self, problem: str) -> NoReturn:
        """Raise InvalidInputError about this line."""
        raise InvalidInputError(f"{self.path}, line {self.number}: {problem}")


@dataclass(frozen=True, slots=True)
class Row:
    """A line that holds a JSON object."""

    line: Line
    fields: dict[str, Any]

    def identifier(self, key: str) -> str:
        """A string that is not empty, or a whole number, as a string."""
        value = self.fields.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or not value:
            self.line.fail(f"{key!r} must be an id, a string that is not empty; it {_is(value, key in self.fields)}.")
        return value

    def string(self, key: str, default: str | None = None) -> str:
        """A string; `default` where it is missing or null."""
        value = self.fields.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            self.line.fail(f"{key!r} must be a string; it {_is(value, key in self.fields)}.")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings, none of them blank; none where it is missing or null."""
        value = self.fields.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or any(not isinstance(item, str) or not item.strip() for item in value):
            self.line.fail(f"{key!r} must be a list of strings, none of them blank.")
        return tuple(value)

    def boolean(self, key: str, default: bool) -> bool:
        """true or false; `default` where it is missing or null."""
        value = self.fields.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.line.fail(f"{key!r} must be true or false; it {_is(value, True)}.")
        return value

    def ranges(self, key: str) -> tuple[tuple[int, int], ...]:
        """A list of [start, end] with 0 <= start < end, each once; none where it is missing or null."""
        value = self.fields.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(_is_range(item) for item in value):
            self.line.fail(f"{key!r} must be a list of [start, end] in characters, with 0 <= start < end.")
        return tuple(dict.fromkeys((start, end) for start, end in value))


@dataclass(slots=True)
class Seen:
    """Ids of one file, to refuse the second of two."""

    lines: dict[str, int]

    @classmethod
    def none(cls) -> Seen:
        """No id yet."""
        return cls({})

    def add(self, identity: str, line: Line, name: str) -> None:
        """Remember an id. Raises InvalidInputError, calling it `name`, when an earlier line has it."""
        if identity in self.lines:
            line.fail(f"{name} stands in line {self.lines[identity]} already. Remove one of them.")
        self.lines[identity] = line.number


def read_lines(path: Path, digest: hashlib._Hash | None = None) -> Iterator[Line]:
    """The lines that are not blank, without their ends.

    Args:
        path: of a text file in UTF-8. Only a line feed ends a line: JSON may hold other separators as they are.
        digest: where given, the name and the bytes of the file go into it.

    Raises:
        InvalidInputError: it is missing, or a line is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read: {error.strerror}. docs/eval-data.md says what it holds."
        ) from error
    if digest is not None:
        digest.update(f"{path.name}\0{len(data)}\0".encode())
        digest.update(data)
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            yield Line(path, number, raw.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            message = f"{path}, line {number}: it is not UTF-8 (byte {error.start}). Save the file as UTF-8."
            raise InvalidInputError(message) from error


def read_rows(path: Path, digest: hashlib._Hash | None = None) -> Iterator[Row]:
    """The JSON objects of a file, one a line. Raises as `read_lines`, and for a line that holds no JSON object."""
    for line in read_lines(path, digest):
        try:
            fields = json.loads(line.text)
            if "\\ud" in line.text.lower():  # an escape may stand for half a character, which UTF-8 cannot carry
                fields = json.loads(replace_surrogates(json.dumps(fields, ensure_ascii=False)))
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{path}, line {line.number}: it is not valid JSON: {error}.") from error
        if not isinstance(fields, dict):
            line.fail("it holds no JSON object. Every line is one, in braces.")
        yield Row(line, fields)


def _is_range(value: object) -> bool:
    if not isinstance(value, list) or [type(item) for item in value] != [int, int]:
        return False
    start, end = value
    return bool(0 <= start < end)


def _is(value: object, is_there: bool) -> str:
    return f"is {json.dumps(value)[:60]}" if is_there else "is missing"
