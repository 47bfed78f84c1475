"""Markdown: the decoded file itself is the canonical text; a line scanner finds its blocks.

Not a Markdown renderer: it knows as much of CommonMark and GitHub's tables as is needed to see where a heading, a
fence, a table, a list, a quote or a paragraph begins and ends, in one pass and without recursion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ingest.parsers.dates import told_date
from ingest.parsers.decoding import decode
from ingest.parsers.headings import HeadingPath, without_markup
from ingest.parsers.limits import ParserLimits
from ingest.parsers.lines import Line, block_of_lines, split_lines
from rag.documents import Block, BlockKind, Document

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?$")
_SETEXT = re.compile(r" {0,3}(=+|-+)$")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})([^`]*)$")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])(?:\s+\S|$)")
_QUOTE = re.compile(r" {0,3}>")
_RULE = re.compile(r" {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$")
_DELIMITER_ROW = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?$")
_TITLE = re.compile(r"[\"']?title[\"']?\s*[:=]\s*(.+)$", re.IGNORECASE)
_DATE = re.compile(r"[\"']?(\w+)[\"']?\s*[:=]\s*[\"']?([0-9][^\"'#]*)[\"']?\s*(?:#.*)?$")
_DATES = ("lastmod", "last_modified", "modified", "updated", "date", "published", "created")
_CODE_INDENT = 4


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read a Markdown file.

    Offsets are offsets into the decoded file, front matter included; locators are lines. Title and date are those of
    the front matter; without a title, the first heading of level 1, else the file's name.

    Raises:
        ParseError: `binary` or `too_long`.
    """
    text = decode(data)
    limits.check_characters(len(text))
    scan = Scan(text)
    return Document(
        scan.title or name, text, tuple(scan.blocks), "text/markdown", told_date(*map(scan.dates.get, _DATES))
    )


class Scan:
    """One pass over the lines of a Markdown text; `blocks`, `title` and `dates` are its result.

    Args:
        text: the canonical text.
        located: whether blocks are located by line; not where people never see the Markdown.
    """

    def __init__(self, text: str, *, located: bool = True) -> None:
        self.blocks: list[Block] = []
        self.title = ""
        self.dates: dict[str, str] = {}
        self._lines = split_lines(text)
        self._located = located
        self._path = HeadingPath()
        at = self._front_matter()
        while at < len(self._lines):
            at = at + 1 if self._lines[at].is_blank else self._block(at)

    def _block(self, at: int) -> int:  # noqa: PLR0911 - one kind a branch
        """Add the block that begins at line `at`; return the line behind it."""
        lines = self._lines
        heading = _ATX.match(lines[at].text)
        if heading:
            return self._heading(at, at, len(heading.group(1)), heading.group(2) or "")
        if _FENCE.match(lines[at].text):
            return self._add("code", at, end_of_fence(lines, at))
        if is_table(lines, at):
            return self._add("table", at, self._while(at + 2, lambda line: "|" in line.text and not line.is_blank))
        if _RULE.match(lines[at].text):
            return at + 1 if not self._located else self._add("paragraph", at, at + 1)
        if _ITEM.match(lines[at].text):
            return self._add("list", at, self._end_of_list(at))
        if _QUOTE.match(lines[at].text):
            return self._add("quote", at, self._while(at + 1, _goes_on_quoting))
        if lines[at].indent >= _CODE_INDENT:
            return self._add("code", at, self._end_of_indented(at))
        return self._paragraph(at)

    def _add(self, kind: BlockKind, first: int, behind: int) -> int:
        block = block_of_lines(self._lines, first, behind - 1, kind, self._path.path, self._located)
        if block:
            self.blocks.append(block)
        return behind

    def _heading(self, first: int, last: int, level: int, markup: str) -> int:
        title = without_markup(markup)
        self._path.enter(level, title)
        if level == 1 and not self.title:
            self.title = title
        return self._add("heading", first, last + 1)

    def _while(self, at: int, holds: Callable[[Line], bool]) -> int:
        while at < len(self._lines) and holds(self._lines[at]):
            at += 1
        return at

    def _paragraph(self, first: int) -> int:
        """A paragraph, or a heading underlined with = or -, which only its last line tells."""
        at = first + 1
        while at < len(self._lines):
            line = self._lines[at]
            underline = _SETEXT.match(line.text)
            if underline:
                markup = " ".join(part.text.strip() for part in self._lines[first:at])
                return self._heading(first, at, 1 if "=" in underline.group(1) else 2, markup)
            if line.is_blank or starts_block(line) or is_table(self._lines, at):
                break
            at += 1
        return self._add("paragraph", first, at)

    def _end_of_list(self, at: int) -> int:
        """A list goes on over blank lines as long as an item or an indented line follows; a fence stands alone."""
        at += 1
        blank = False
        while at < len(self._lines):
            line = self._lines[at]
            if line.is_blank:
                blank = True
            elif self._ends_list(at, after_blank=blank):
                break
            else:
                blank = False
            at += 1
        return at

    def _ends_list(self, at: int, *, after_blank: bool) -> bool:
        line = self._lines[at]
        if any(pattern.match(line.text) for pattern in (_FENCE, _ATX, _RULE)) or is_table(self._lines, at):
            return True
        return after_blank and not _ITEM.match(line.text) and line.indent < 2

    def _end_of_indented(self, at: int) -> int:
        last = at
        while at < len(self._lines) and (self._lines[at].is_blank or self._lines[at].indent >= _CODE_INDENT):
            if not self._lines[at].is_blank:
                last = at
            at += 1
        return last + 1

    def _front_matter(self) -> int:
        """Take YAML (---) or TOML (+++) at the top for title and dates; it stays in the text, as a block of code."""
        if not self._lines or self._lines[0].text not in ("---", "+++"):
            return 0
        mark = self._lines[0].text
        closing = next((n for n, line in enumerate(self._lines[1:200], 1) if line.text in (mark, "...")), None)
        if closing is None:
            return 0
        for line in self._lines[1:closing]:
            if dated := _DATE.match(line.text):
                self.dates.setdefault(dated[1].lower(), dated[2].strip())
            found = _TITLE.match(line.text)
            if found and not self.title:
                self.title = without_markup(found.group(1).strip().strip("\"'"))
        return self._add("code", 0, closing + 1)


def starts_block(line: Line) -> bool:
    """Whether a line ends the paragraph before it without a blank line."""
    text = line.text
    return any(pattern.match(text) for pattern in (_ATX, _FENCE, _ITEM, _QUOTE, _RULE))


def _goes_on_quoting(line: Line) -> bool:
    return not line.is_blank and (bool(_QUOTE.match(line.text)) or not starts_block(line))


def is_table(lines: Sequence[Line], at: int) -> bool:
    """Whether a table's header row stands at `at`: a line with a bar above a row of dashes and bars."""
    if at + 1 >= len(lines) or "|" not in lines[at].text:
        return False
    below = lines[at + 1].text
    return "-" in below and "|" in below and bool(_DELIMITER_ROW.match(below))


def end_of_fence(lines: Sequence[Line], at: int) -> int:
    """The line behind the fence that opens at `at`: behind its closing marks, or the end of the text."""
    opening = _FENCE.match(lines[at].text)
    marks = opening.group(1) if opening else "```"
    for number in range(at + 1, len(lines)):
        text = lines[number].text.strip()
        if text.startswith(marks) and not text.strip(marks[0]):
            return number + 1
    return len(lines)
