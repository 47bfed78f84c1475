"""Readable text and its blocks, written from the begin and end of a page's elements."""

from __future__ import annotations

import re

from ingest.parsers.headings import HeadingPath, one_line
from ingest.parsers.limits import ParserLimits
from rag.documents import Block, BlockKind

_SPACE = re.compile(r"[ \t\r\n\f\xa0]+")
_GAP = "\n\n"
_MAX_INDENT = 8


class Transcript:
    """Collects the text of one block at a time and closes it where the page does.

    A heading and preformatted text stand alone wherever they are; a list, a table or a quote is one block with all
    that it holds; all else is paragraphs.
    """

    def __init__(self, limits: ParserLimits) -> None:
        self.blocks: list[Block] = []
        self.title = ""
        self._limits = limits
        self._parts: list[str] = []
        self._length = 0
        self._path = HeadingPath()
        self._line: list[str] = []
        self._done: list[str] = []
        self._containers: list[str] = []
        self._marker = ""  # of a list item that has no text yet
        self._cells = 0
        self._heading_level = 0

    @property
    def text(self) -> str:
        """The canonical text so far."""
        return "".join(self._parts)

    @property
    def is_empty(self) -> bool:
        """Nothing was written yet."""
        return not self._parts

    @property
    def _is_preformatted(self) -> bool:
        return bool(self._containers) and self._containers[-1] == "code"

    def write(self, text: str) -> None:
        """Add text to the line."""
        self._line.append(text)

    def line(self, *, paragraph: bool) -> None:
        """End the line; with `paragraph` also the block, unless a container holds it together."""
        if self._is_preformatted:
            self._line.append("\n")
            return
        if self._cells and not paragraph:
            self._line.append(" ")
            return
        if self._cells:
            self._line.append(" ")
        else:
            self._end_line()
        if paragraph and not self._containers and not self._heading_level:
            self._end_block("paragraph")

    def heading(self, level: int, entering: bool) -> None:
        """A heading begins or ends."""
        self._end_block(self._kind)
        self._heading_level = level if entering else 0

    def container(self, kind: str, entering: bool) -> None:
        """A list, table, quote or preformatted text begins or ends."""
        closes_last = not entering and len(self._containers) == 1
        if not self._containers or closes_last or kind == "code":
            self._end_block(self._kind)
        elif not self._cells:
            self._end_line()
        if entering:
            self._containers.append(kind)
        elif kind in self._containers:
            del self._containers[len(self._containers) - 1 - self._containers[::-1].index(kind)]

    def item(self, tag: str, entering: bool) -> None:
        """A list item, a row or a caption begins or ends."""
        if tag == "tr":
            self._cells = 0
        if not self._cells:
            self._end_line()
        if entering and tag == "li":
            depth = sum(kind == "list" for kind in self._containers) - 1
            self._marker = "  " * min(max(depth, 0), _MAX_INDENT) + "- "
        if not self._containers:  # an item or a row outside of a list or table, or in one that only places things
            self._end_block("paragraph")

    def cell(self, entering: bool) -> None:
        """A table's cell begins or ends."""
        if "table" not in self._containers:
            self.line(paragraph=True)
            return
        if entering:
            if self._cells:
                self._line.append(" | ")
            self._cells += 1

    def finish(self) -> None:
        """The page has ended."""
        self._end_block(self._kind)
        self._containers.clear()
        self._cells = self._heading_level = 0

    @property
    def _kind(self) -> BlockKind:
        if self._heading_level:
            return "heading"
        if self._is_preformatted:
            return "code"
        kinds: dict[str, BlockKind] = {"list": "list", "table": "table", "quote": "quote"}
        return kinds[self._containers[0]] if self._containers and self._containers[0] in kinds else "paragraph"

    def _end_line(self) -> None:
        line = _SPACE.sub(" ", "".join(self._line)).strip()
        self._line.clear()
        if line.strip("| " if self._cells else " "):
            self._done.append(self._marker + line)
            self._marker = ""

    def _end_block(self, kind: BlockKind) -> None:
        if kind == "code":
            content = "".join(self._line).replace("\r\n", "\n").replace("\xa0", " ")
            self._line.clear()
            text = "\n".join([*self._done, *(line.rstrip() for line in content.split("\n"))]).strip("\n").rstrip()
        else:
            self._end_line()
            text = ("\n" if kind != "heading" else " ").join(self._done)
        self._done.clear()
        self._marker = ""
        self._cells = 0
        if text.strip():
            self._add(text, kind)

    def _add(self, text: str, kind: BlockKind) -> None:
        if kind == "heading":
            self._path.enter(self._heading_level, one_line(text))
            if self._heading_level == 1 and not self.title:
                self.title = one_line(text)
        if self._parts:
            self._parts.append(_GAP)
            self._length += len(_GAP)
        start = self._length + len(text) - len(text.lstrip())
        self._parts.append(text)
        self._length += len(text)
        self._limits.check_characters(self._length)
        self.blocks.append(Block(start, self._length, kind, self._path.path))
