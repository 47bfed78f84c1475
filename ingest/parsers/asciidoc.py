"""AsciiDoc: the decoded file itself is the canonical text; a line scanner finds its blocks."""

from __future__ import annotations

import re

from ingest.parsers.decoding import decode
from ingest.parsers.headings import HeadingPath, without_markup
from ingest.parsers.limits import ParserLimits
from ingest.parsers.lines import block_of_lines, split_lines
from rag.documents import Block, BlockKind, Document

_HEADING = re.compile(r"(={1,6}|#{1,6})[ \t]+(\S.*?)(?:[ \t]+\1)?$")
_UNDERLINE = re.compile(r"([=\-~^+])\1+$")
_UNDERLINES = "=-~^+"
_VERBATIM = re.compile(r"(-{4,}|\.{4,}|\+{4,}|/{4,}|`{3,})[\w+#.-]*$")
_TABLE = re.compile(r"[|,:!]={3,}$")
_QUOTE = re.compile(r"_{4,}$")
_CONTAINER = re.compile(r"(?:={4,}|\*{4,}|--|'{3,}|<{3,})$")  # what it holds are blocks like all others
_ATTRIBUTES = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]$|\[\[[^\[\]]*\]\]$")
_CODE_STYLE = re.compile(r"\[(?:source|listing|literal|stem|latexmath|asciimath)\b")
_CAPTION = re.compile(r"\.[^\s.].*$")
_ENTRY = re.compile(r":!?[A-Za-z0-9_][\w!-]*:(?:\s|$)")
_COMMENT = re.compile(r"//(?!/)")
_ITEM = re.compile(r"\s*(?:\*{1,6}|-|\.{1,6}|\d{1,9}\.|[a-zA-Z]\.|<(?:\d+|\.)>)\s+\S|\s*\S.{0,200}?:{2,4}(?:\s+\S|$)")
_INLINE = re.compile(r"\[\[[^\]]*\]\]|(?:link|xref|anchor):[^\s\[]*\[([^\]]*)\]|<<[^,>]*(?:,([^>]*))?>>")


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read an AsciiDoc file.

    Offsets are offsets into the decoded file; locators are lines. Attributes and anchors above a block belong to it.
    The title is the first heading of level 0 (`= Title`), else the file's name.

    Raises:
        ParseError: `binary` or `too_long`.
    """
    text = decode(data)
    limits.check_characters(len(text))
    scan = _Scan(text)
    return Document(scan.title or name, text, scan.blocks, "text/asciidoc")


class _Scan:
    def __init__(self, text: str) -> None:
        self.title = ""
        self._lines = split_lines(text)
        self._path = HeadingPath()
        self._found: list[Block] = []
        at = 0
        while at < len(self._lines):
            at = at + 1 if self._lines[at].is_blank else self._block(at)
        self.blocks = tuple(self._found)

    def _text(self, at: int) -> str:
        return self._lines[at].text if at < len(self._lines) else ""

    def _block(self, first: int) -> int:  # noqa: PLR0911 - one kind a branch
        """Add the block that begins at line `first`; return the line behind it."""
        at = first
        is_code = False
        while _is_above_a_block(self._text(at)) and self._text(at + 1):
            is_code = is_code or bool(_CODE_STYLE.match(self._text(at)))
            at += 1
        text = self._text(at)
        heading = self._heading_at(at)
        if heading:
            return self._heading(first, *heading)
        if _VERBATIM.match(text):
            return self._add("code", first, self._end_of_delimited(at))
        if _TABLE.match(text):
            return self._add("table", first, self._end_of_delimited(at))
        if text.startswith("|"):
            return self._add("table", first, self._end_of_paragraph(at))
        if _QUOTE.match(text):
            return self._add("quote", first, self._end_of_delimited(at))
        if _CONTAINER.match(text):
            return self._add("paragraph", first, at + 1)
        if _ENTRY.match(text):
            return self._add("code", first, self._end_of_entries(at))
        if is_code or (self._lines[at].indent and not _ITEM.match(text)):
            return self._add("code", first, self._end_of_paragraph(at))
        if _ITEM.match(text):
            return self._add("list", first, self._end_of_list(at))
        return self._add("paragraph", first, self._end_of_paragraph(at))

    def _add(self, kind: BlockKind, first: int, behind: int) -> int:
        block = block_of_lines(self._lines, first, behind - 1, kind, self._path.path)
        if block:
            self._found.append(block)
        return behind

    def _heading_at(self, at: int) -> tuple[int, str, int] | None:
        """Level, markup and the line behind the heading at line `at`, if there is one: marked, or underlined."""
        text, below = self._text(at), self._text(at + 1)
        marked = _HEADING.match(text)
        if marked:
            return len(marked.group(1)), marked.group(2), at + 1
        under = _UNDERLINE.match(below)
        is_text = text[:1].isalnum() and len(text) > 2
        if under and is_text and abs(len(below) - len(text)) <= 1:
            return _UNDERLINES.index(under.group(1)) + 1, text, at + 2
        return None

    def _heading(self, first: int, level: int, markup: str, behind: int) -> int:
        shown = without_markup(_INLINE.sub(lambda found: found.group(1) or found.group(2) or "", markup))
        self._path.enter(level, shown)
        if level == 1 and not self.title:
            self.title = shown
        return self._add("heading", first, behind)

    def _end_of_delimited(self, at: int) -> int:
        """Behind the next line like that at `at`, or the end of the text."""
        opening = self._text(at)
        closing = opening[:3] if opening.startswith("```") else opening
        for number in range(at + 1, len(self._lines)):
            if self._text(number) == closing:
                return number + 1
        return len(self._lines)

    def _end_of_entries(self, at: int) -> int:
        while _ENTRY.match(self._text(at)) or _COMMENT.match(self._text(at)) or self._text(at - 1).endswith(" \\"):
            at += 1
            if at >= len(self._lines):
                break
        return at

    def _end_of_paragraph(self, at: int) -> int:
        at += 1
        while at < len(self._lines) and not self._lines[at].is_blank and not _delimits(self._text(at)):
            if _ATTRIBUTES.match(self._text(at)) or _HEADING.match(self._text(at)):
                break
            at += 1
        return at

    def _end_of_list(self, at: int) -> int:
        """Behind the last item; a delimited block in an item stands alone."""
        at += 1
        blank = False
        while at < len(self._lines):
            text = self._text(at)
            if not text:
                blank = True
            elif _delimits(text) or _HEADING.match(text) or (blank and self._ends_list(at)):
                break
            else:
                blank = False
            at += 1
        return at

    def _ends_list(self, at: int) -> bool:
        text = self._text(at)
        goes_on = bool(_ITEM.match(text)) or text == "+" or self._lines[at].indent > 0
        return not goes_on or _is_above_a_block(text)


def _is_above_a_block(text: str) -> bool:
    return bool(_ATTRIBUTES.match(text) or _CAPTION.match(text))


def _delimits(text: str) -> bool:
    return any(pattern.match(text) for pattern in (_VERBATIM, _TABLE, _QUOTE, _CONTAINER))
