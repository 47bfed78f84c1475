"""reStructuredText: the decoded file itself is the canonical text; a line scanner finds its blocks."""

from __future__ import annotations

import re

from ingest.parsers.decoding import decode
from ingest.parsers.headings import HeadingPath, one_line
from ingest.parsers.limits import ParserLimits
from ingest.parsers.lines import Line, block_of_lines, split_lines
from rag.documents import Block, BlockKind, Document

_ADORNMENT = re.compile(r"([=\-`:.'\"~^_*+#<>!$%&(),/;?@\[\\\]{|}])\1{2,}$")
_SHORT_ADORNMENT = re.compile(r"([=\-~^\"'*+#])\1$")  # two marks under a title of two characters
_ITEM = re.compile(r"\s*(?:[-*+•]|(?:\d{1,9}|#|[a-zA-Z])[.)]|\(\w{1,3}\))\s+\S")
_TABLE = re.compile(r"\s*(?:\+(?:[-=]+\+)+|=+(?:\s+=+)+)$")
_CODE_DIRECTIVE = re.compile(r"\s*\.\. (?:code|code-block|sourcecode|literalinclude|parsed-literal|prompt)::")
_COMMENT_OR_TARGET = re.compile(r"\s*\.\. (?:_|\[)")
_ROLE = re.compile(r":[a-zA-Z:+-]{1,40}:`([^`<]*?)(?:\s*<[^`]*>)?`|`{1,2}([^`<]*?)(?:\s*<[^`]*>)?`{1,2}_{0,2}")


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read a reStructuredText file.

    Offsets are offsets into the decoded file; locators are lines. Heading levels are what the file makes them: the
    first adornment that it uses is level 1. The title is the first heading of that level, else the file's name.

    Raises:
        ParseError: `binary` or `too_long`.
    """
    text = decode(data)
    limits.check_characters(len(text))
    scan = _Scan(text)
    return Document(scan.title or name, text, tuple(scan.blocks), "text/x-rst")


class _Scan:
    def __init__(self, text: str) -> None:
        self.blocks: list[Block] = []
        self.title = ""
        self._lines = split_lines(text)
        self._path = HeadingPath()
        self._levels: list[str] = []
        at = 0
        while at < len(self._lines):
            at = at + 1 if self._lines[at].is_blank else self._block(at)

    def _block(self, at: int) -> int:
        """Add the block that begins at line `at`; return the line behind it."""
        behind = self._heading(at)
        if behind:
            return behind
        line = self._lines[at]
        if _CODE_DIRECTIVE.match(line.text):
            return self._add("code", at, self._end_of_body(at + 1, line.indent))
        if _TABLE.match(line.text):
            return self._add("table", at, self._end_of_table(at))
        if _ITEM.match(line.text):
            return self._add("list", at, self._end_of_list(at))
        behind = at + 1
        while behind < len(self._lines) and not self._lines[behind].is_blank and not self._heading_at(behind):
            behind += 1
        self._add("paragraph", at, behind)
        opens_literal = self._lines[behind - 1].text.endswith("::") and not line.text.lstrip().startswith(".. ")
        if opens_literal:
            literal = self._end_of_body(behind, line.indent)
            if literal > behind:
                self._add("code", behind, literal)
                return literal
        return behind

    def _add(self, kind: BlockKind, first: int, behind: int) -> int:
        block = block_of_lines(self._lines, first, behind - 1, kind, self._path.path)
        if block:
            self.blocks.append(block)
        return behind

    def _heading(self, at: int) -> int:
        """Add the heading at line `at`, over- and underlined or underlined; return the line behind it, or 0."""
        style = self._heading_at(at)
        if not style:
            return 0
        overlined = len(style) == 2
        title = _ROLE.sub(lambda found: found.group(1) or found.group(2) or "", self._lines[at + overlined].text)
        if style not in self._levels:
            self._levels.append(style)
        level = self._levels.index(style) + 1
        self._path.enter(level, one_line(title))
        if level == 1 and not self.title:
            self.title = one_line(title)
        return self._add("heading", at, at + 2 + overlined)

    def _heading_at(self, at: int) -> str:
        """The adornment of the heading that begins at line `at`: one mark, two with a line above; "" if none does."""
        texts = [line.text for line in self._lines[at : at + 3]]
        over = _ADORNMENT.match(texts[0])
        if over and len(texts) == 3 and texts[1] and texts[2] == texts[0] and len(texts[1]) <= len(texts[0]):
            return over.group(1) * 2
        if len(texts) < 2 or over or _is_indented(self._lines[at]) or _TABLE.match(texts[1]):
            return ""
        under = _ADORNMENT.match(texts[1]) or (_SHORT_ADORNMENT.match(texts[1]) if len(texts[0]) <= 2 else None)
        long_enough = under and len(texts[1]) >= min(len(texts[0]), 4)
        return under.group(1) if under and long_enough and not _COMMENT_OR_TARGET.match(texts[0]) else ""

    def _end_of_body(self, at: int, indent: int) -> int:
        """Behind the lines that are indented more than `indent`, blank ones between them included."""
        last = at
        while at < len(self._lines) and (self._lines[at].is_blank or self._lines[at].indent > indent):
            at += 1
            if not self._lines[at - 1].is_blank:
                last = at
        return last

    def _end_of_table(self, at: int) -> int:
        """A grid ends at a blank line; a simple table at its last line of =, which stands before a blank line."""
        is_grid = self._lines[at].text.lstrip().startswith("+")
        last = at
        while at < len(self._lines):
            line = self._lines[at]
            if line.is_blank and (is_grid or _TABLE.match(self._lines[at - 1].text)) and at - 1 > last:
                return at
            at += 1
        return self._end_of_body(last + 1, self._lines[last].indent - 1) if not is_grid else at

    def _end_of_list(self, at: int) -> int:
        """Behind the last item, and what is indented below it."""
        indent = self._lines[at].indent
        at += 1
        blank = False
        while at < len(self._lines):
            line = self._lines[at]
            if line.is_blank:
                blank = True
            elif self._ends_list(at, indent, after_blank=blank):
                break
            else:
                blank = False
            at += 1
        return at

    def _ends_list(self, at: int, indent: int, *, after_blank: bool) -> bool:
        line = self._lines[at]
        if _CODE_DIRECTIVE.match(line.text) or self._heading_at(at):
            return True
        return after_blank and line.indent <= indent and not _ITEM.match(line.text)


def _is_indented(line: Line) -> bool:
    return line.text[:1] in (" ", "\t")
