"""What the short names of a filter's text mean: `type`, `path`, `filename`, `date` and `document`.

Everything else is the name of a user's attribute, and so is a short name in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from rag.attributes import DATE, FILENAME, FOLDER, MAX_FOLDERS, PATH, SUFFIX, TYPE
from rag.dates import Moment, moment
from rag.documents import AttributeValue
from rag.filter_tokens import Token, key_of, value_of, wrong
from rag.filters import And, Eq, Exists, Filter, In, Not, Or, Range, beyond

SHORT: Final = {"type": TYPE, "path": PATH, "filename": FILENAME, "date": DATE, "document": "document_id"}

_ORDER: Final = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
# Names that mean several endings; every other name means the ending that is spelt like it.
_KINDS: Final = {
    "markdown": (".md", ".markdown", ".mdx"), "md": (".md", ".markdown", ".mdx"),
    "html": (".html", ".htm", ".xhtml"), "text": (".txt", ".text"), "txt": (".txt", ".text"),
    "word": (".docx", ".doc"), "excel": (".xlsx", ".xlsm", ".xlsb", ".xls"), "powerpoint": (".pptx", ".ppt"),
    "mail": (".eml", ".msg"), "jpg": (".jpg", ".jpeg"), "jpeg": (".jpg", ".jpeg"), "tif": (".tif", ".tiff"),
    "tiff": (".tif", ".tiff"), "yaml": (".yaml", ".yml"), "yml": (".yaml", ".yml"), "python": (".py", ".pyi"),
}  # fmt: skip
_ANY_DEPTH: Final = re.compile(r"\*\*/\*|\*\*")
_PATTERN: Final = (
    "a pattern is a folder and everything below it (handbook/*), an ending (*.pdf), or both (handbook/*.pdf); * stands "
    "for any characters, with / among them"
)


class Names:
    """Turns comparisons into filters.

    Args:
        roots: paths of the folders that the store was made of, absolute; relative paths are looked up in them.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = [PurePosixPath(root) for root in roots]

    def key(self, token: Token) -> str:
        """The attribute that a name stands for."""
        key = key_of(token)
        return SHORT.get(key, key) if token.kind == "word" else key

    def compare(self, name: Token, sign: Token, value: Token) -> Filter:
        """`name sign value`. Raises InvalidInputError where that has no meaning."""
        if sign.value == "!=":
            return Not(self._equal(name, value))
        if sign.value == "=":
            return self._equal(name, value)
        key = self.key(name)
        if sign.value == "~":
            return self._like(name, sign, value)
        if self._is(name, "type", "path", "filename", "document"):
            raise wrong(sign, "only dates and numbers have an order; compare others by = and !=")
        meant = self._meant(name, value)
        if isinstance(meant, (str, bool)) or (self._is(name, "date") and not isinstance(meant, Moment)):
            raise wrong(value, f"{sign.value} compares with a date such as 2024-01-31" + self._or_number(name))
        return _ordered(_ORDER[sign.value], key, meant)

    def one_of(self, name: Token, values: Sequence[Token]) -> Filter:
        """`name in (values)`. Raises InvalidInputError where that has no meaning."""
        found = [self._equal(name, value) for value in values]
        keys = {each.key if isinstance(each, (Eq, In)) else "" for each in found} or {self.key(name)}
        if len(keys) == 1 and keys != {""}:
            return In(keys.pop(), tuple(_values(found)))
        return found[0] if len(found) == 1 else Or(tuple(found))

    def _equal(self, name: Token, value: Token) -> Filter:
        key, meant = self.key(name), self._meant(name, value)
        if self._is(name, "type"):
            return _of_type(str(value.value).lower())
        if self._is(name, "date"):
            if not isinstance(meant, Moment):
                raise wrong(value, "a date is written 2024-01-31, or 2024-01-31T09:30:00+02:00")
            return Range(key, meant.first, meant.last)
        if self._is(name, "path"):
            return _either([Eq(PATH, str(path)) for path in self._resolved(value, value.value)])
        if self._is(name, "filename", "document"):
            return Eq(key, value.value)
        return Range(key, meant.first, meant.last) if isinstance(meant, Moment) else Eq(key, meant)

    def _meant(self, name: Token, value: Token) -> AttributeValue | Moment:
        """What a value stands for; a document's date may be in quotes, which for other names make it text."""
        found = value_of(value)
        return (moment(found) or found) if self._is(name, "date") and isinstance(found, str) else found

    def _like(self, name: Token, sign: Token, value: Token) -> Filter:
        if not self._is(name, "path", "filename"):
            raise wrong(sign, "only path and filename have patterns; compare others by =")
        value_of(value)
        pattern = _ANY_DEPTH.sub("*", value.value)
        if self._is(name, "filename") and "/" in value.value:
            raise wrong(value, "the name of a file holds no /; ask for the path")
        folder, star, ending = pattern.partition("*")
        if not star:
            return self._equal(name, Token("text", value.value, value.at))
        if (folder and not folder.endswith("/")) or "*" in ending or any(mark in value.value for mark in "?["):
            raise wrong(value, _PATTERN)
        parts: list[Filter] = [Exists(PATH)] if self._is(name, "path") and folder in ("", "/") else []
        if folder not in ("", "/"):
            parts.append(_either([self._below(path, value) for path in self._resolved(value, folder)]))
        if ending:
            if not ending.startswith(".") or "." in ending[1:] or "/" in ending or len(ending) == 1:
                raise wrong(value, f"{_PATTERN}. An ending is the last one: *.gz, not *.tar.gz")
            parts.append(Eq(SUFFIX, ending.lower()))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _below(self, folder: PurePosixPath, value: Token) -> Filter:
        if len(folder.parts) - 1 > MAX_FOLDERS:
            raise wrong(value, f"folders can be asked for down to the {MAX_FOLDERS}th below /")
        return Eq(FOLDER, str(folder))

    def _resolved(self, value: Token, path: str) -> list[PurePosixPath]:
        """The absolute paths that a path may mean: below each root, whose own last names may be repeated."""
        wanted = PurePosixPath(path)
        if wanted.is_absolute():
            return [wanted]
        if ".." in wanted.parts or not wanted.parts:
            raise wrong(value, "a path is absolute, or one below an ingested folder, without ..")
        if not self._roots:
            raise wrong(value, "the store was made of no folder, so write an absolute path, or ask for the filename")
        found: dict[PurePosixPath, None] = {}
        for root in self._roots:
            for shared in range(len(wanted.parts) + 1):
                if root.parts[len(root.parts) - shared :] == wanted.parts[:shared]:
                    found[root.joinpath(*wanted.parts[shared:])] = None
        return list(found)

    def _or_number(self, name: Token) -> str:
        return "" if self._is(name, "date") else " or a number; text is compared by = and !="

    def _is(self, name: Token, *shorts: str) -> bool:
        return name.kind == "word" and name.value in shorts


def _of_type(name: str) -> Filter:
    if "/" in name:
        return Eq(TYPE, name)
    endings = _KINDS.get(name.lstrip("."), (f".{name.lstrip('.')}",))
    return Eq(SUFFIX, endings[0]) if len(endings) == 1 else In(SUFFIX, endings)


def _either(found: list[Filter]) -> Filter:
    return found[0] if len(found) == 1 else Or(tuple(found))


def _values(found: Sequence[Filter]) -> list[AttributeValue]:
    values: list[AttributeValue] = []
    for each in found:
        values += each.values if isinstance(each, In) else [each.value] if isinstance(each, Eq) else []
    return values


def _ordered(kind: str, key: str, meant: int | float | Moment) -> Filter:
    """Before a day ends before it begins, and after it begins when it ends."""
    if isinstance(meant, Moment):
        meant = meant.first if kind in ("lt", "gte") else meant.last
    return beyond(kind, key, meant)
