"""JSON Lines: the file's own text, a block for each record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ingest.parsers.decoding import decode
from ingest.parsers.json_tokens import readable
from ingest.parsers.limits import ParserLimits
from rag.documents import Block, Document, Locator, line_breaks
from rag.errors import ParseError

_MAX_RECORDS = 200_000  # above which short ones share a block
_SMALL = 300
_LINE = re.compile(r"[^\s](?:[^\n]*[^\s])?")  # without the white space around it
_OBJECTS_ON_LINES = re.compile(r"\s*+\{[^\r\n]*\}[ \t]*+[\r\n]\s*+\{")


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    r"""Read a file of JSON values, a line each; a line that is no JSON is kept as it is.

    The text is the file's own, in which only escapes like `\u00e9` are shown as what they stand for. Locators are
    lines.

    Raises:
        ParseError: `binary`, `wrong_type` (no line is JSON), `too_long`.
    """
    text = decode(data)
    limits.check_characters(len(text))
    text = readable(text)
    if text.strip() and not any(_is_json(found.group()) for found in _LINE.finditer(text)):
        raise ParseError("wrong_type", "The name says JSON, but no line of it is. Give it its right suffix.")
    return Document(name, text, tuple(_blocks(text)), "application/x-ndjson")


def has_objects_on_lines(text: str) -> bool:
    """Whether a text that is called JSON is JSON Lines: its first line is an object, and another one follows."""
    found = _OBJECTS_ON_LINES.match(text)
    return bool(found) and _is_json(text.lstrip().split("\n", 1)[0])


def _is_json(line: str) -> bool:
    try:
        json.loads(line, parse_int=str, parse_float=str)  # a number of a million digits takes minutes to compute
    except (ValueError, RecursionError):  # nested too deep for the check is not what people call a record
        return False
    return True


def _blocks(text: str) -> Iterator[Block]:
    """A block for each line that is not blank; where there are very many, short neighbours share one."""
    small = _SMALL if text.count("\n") > _MAX_RECORDS else 0
    number, counted = 1, 0
    start = end = first = last = 0
    for found in _LINE.finditer(text):
        number += line_breaks(text, counted, found.start())
        counted = found.start()
        if first and found.end() - start > small:
            yield Block(start, end, "code", (), Locator(lines=(first, last)))
            first = 0
        if not first:
            start, first = found.start(), number
        end, last = found.end(), number + line_breaks(text, found.start(), found.end())
    if first:
        yield Block(start, end, "code", (), Locator(lines=(first, last)))
