"""Where a chunk may begin: sections and walls of a document, and the ranks of places inside a block."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from rag.documents import Block, BlockKind, Document, Locator, line_breaks

SHOWN = re.compile(r"\S")

_BLANK_LINE = re.compile(r"\n[ \t\r]*\n\s*")
_LINE_END = re.compile(r"[\r\n]\s*")
_SENTENCE_END = re.compile(r"[.!?…][\"')\]’”»]*\s+(?=[^\sa-z])|[。！？](?=[^\s。！？])")
_ITEM = re.compile(r"[\r\n]\s*(?=(?:[-*+•‣◦]|\(?[0-9]{1,9}[.)]|\(?[a-zA-Z][.)])[ \t])")

_PROSE = (_BLANK_LINE, _SENTENCE_END, _LINE_END)
_RANKED: dict[BlockKind, tuple[re.Pattern[str], ...]] = {
    "heading": _PROSE,
    "paragraph": _PROSE,
    "quote": _PROSE,
    "list": (_ITEM, _BLANK_LINE, _SENTENCE_END, _LINE_END),
    "table": (_LINE_END, _SENTENCE_END),
    "code": (_BLANK_LINE, _LINE_END, _SENTENCE_END),
}
_CONTEXT = 64  # a boundary may begin before the window that it ends in, and looks at what is behind it


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Places between blocks, each list ascending.

    Attributes:
        starts: where a block begins that does not follow a heading, which would end the chunk before.
        sections: those of them where a chunk should begin: at a heading, on another slide, in another cell.
        walls: where it must, whatever is before: in another sheet or entry.
    """

    starts: array[int] = field(default_factory=lambda: array("Q"))
    sections: array[int] = field(default_factory=lambda: array("Q"))
    walls: array[int] = field(default_factory=lambda: array("Q"))


def find_boundaries(blocks: Sequence[Block]) -> Boundaries:
    """The boundaries between a document's blocks."""
    found = Boundaries()
    before: Block | None = None
    for block in blocks:
        here = block.locator
        there = before.locator if before else here
        if (here.sheet, here.entry) != (there.sheet, there.entry):
            found.walls.append(block.start)
        if before is None or before.kind != "heading":
            found.starts.append(block.start)
            if block.kind == "heading" or (here.slide, here.cell) != (there.slide, there.cell):
                found.sections.append(block.start)
        before = block
    return found


def last_inside(text: str, block: Block, least: int, most: int) -> int | None:
    """The last of the best places in a block to begin a chunk at, from `least` to `most`, both included.

    Prose is cut at blank lines, else behind sentences, else at lines; a list at its items first; a table at its rows;
    code at blank lines, else at lines.
    """
    least, most = max(least, block.start + 1), min(most, block.end)
    behind = min(most + _CONTEXT, block.end)  # and not the whole rest of a long block
    for pattern in _RANKED[block.kind] if least <= most else ():
        last = None
        for match in pattern.finditer(text, max(block.start, least - _CONTEXT), behind):
            if match.end() > most:
                break
            last = match.end()
        if last is not None and last >= least:
            return last
    return None


def first_inside(text: str, block: Block, least: int, most: int) -> int | None:
    """The first place from `least` to `most`, both included, where a passage of a block can begin, as `last_inside`.

    Of places of all ranks the one that comes first, save that prose begins at a line only where it can nowhere else.
    """
    least, most = max(least, block.start + 1), min(most, block.end)
    found: list[int] = []
    for pattern in _RANKED[block.kind] if least <= most else ():
        if found and pattern is _RANKED[block.kind][-1]:
            break
        for match in pattern.finditer(text, max(block.start, least - _CONTEXT), min(most + _CONTEXT, block.end)):
            if least <= match.end() <= most:
                found.append(match.end())
                break
    return min(found, default=None)


def last_within(places: Sequence[int], least: int, most: int) -> int | None:
    """The last of the ascending places from `least` to `most`, both included."""
    at = bisect_right(places, most) - 1
    return places[at] if at >= 0 and places[at] >= least else None


def whole_cover(document: Document) -> list[Block]:
    """The blocks, and paragraphs for what shows between them, so that nothing is lost that a parser left out."""
    covered: list[Block] = []
    position = 0
    headings: tuple[str, ...] = ()
    ends = Block(len(document.text), len(document.text), "paragraph")
    for block in (*document.blocks, ends):
        shown = SHOWN.search(document.text, position, block.start)
        if shown:
            locator = _locator_between(document.text, shown.start(), covered[-1] if covered else block)
            covered.append(Block(shown.start(), block.start, "paragraph", headings, locator))
        if block is not ends:
            covered.append(block)
            headings = block.headings
        position = block.end
    return covered


def _locator_between(text: str, start: int, beside: Block) -> Locator:
    """The locator of text that no block covers: that of the block beside it, but none of its rows."""
    near = beside.locator
    lines = near.lines
    if lines is not None:
        away = (
            line_breaks(text, beside.start, start) if beside.start < start else -line_breaks(text, start, beside.start)
        )
        lines = (max(1, lines[0] + away),) * 2
    return Locator(
        page=near.page, page_end=near.page_end, page_label=near.page_label, slide=near.slide, sheet=near.sheet,
        cell=near.cell, lines=lines, entry=near.entry,
    )  # fmt: skip
