"""The lines of a text with their offsets, and blocks of whole lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rag.documents import Block, BlockKind, Locator

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|$)")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `text` is `document[start:start + len(text)]`, without its end and trailing white space."""

    start: int
    text: str

    @property
    def is_blank(self) -> bool:
        """Nothing but white space."""
        return not self.text

    @property
    def indent(self) -> int:
        """Columns before the first character that shows; a tab counts four."""
        shown = len(self.text) - len(self.text.lstrip())
        return len(self.text[:shown].expandtabs(4))


def split_lines(text: str) -> list[Line]:
    """The lines of `text`; line ends are CR LF, LF and CR, and nothing else that `str.splitlines` would take."""
    return list(_lines(text))


def _lines(text: str) -> Iterator[Line]:
    for match in _LINE.finditer(text):
        if match.end() > match.start():
            yield Line(match.start(), match.group().rstrip())


def block_of_lines(
    lines: list[Line], first: int, last: int, kind: BlockKind, headings: tuple[str, ...], located: bool = True
) -> Block | None:
    """The block from line `first` to line `last`, both included, blank lines at its ends left out; None if all are."""
    while first <= last and lines[first].is_blank:
        first += 1
    while first <= last and lines[last].is_blank:
        last -= 1
    if first > last:
        return None
    opening, closing = lines[first], lines[last]
    start = opening.start + len(opening.text) - len(opening.text.lstrip())
    locator = Locator(lines=(first + 1, last + 1)) if located else Locator()
    return Block(start, closing.start + len(closing.text), kind, headings, locator)
