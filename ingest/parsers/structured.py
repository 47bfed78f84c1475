"""JSON: the file's own text where people can read it, else the same values on lines of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ingest.parsers import json_lines
from ingest.parsers.decoding import clean, decode
from ingest.parsers.headings import one_line
from ingest.parsers.json_tokens import readable, tokens
from ingest.parsers.limits import ParserLimits
from rag.documents import Block, Document, Locator
from rag.errors import ParseError

_OPENS_VALUE = re.compile(r'\s*+(?:[\[{"\-0-9]|true|false|null|NaN|Infinity|\Z)')
_LINE_CHARACTERS = 200  # on average, up to which lines are as a person would write them
_MAX_INDENT = 32
_LEVELS = 2  # of keys in a heading path
_LARGE = 1_500  # characters of a value above which its members are told apart
_LONG = 200  # characters of a text that gets a block of its own
_SMALL = 300  # characters up to which elements of an array share a block


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    r"""Read a JSON file; a file of several JSON objects, a line each, is read as JSON Lines.

    Blocks are members and elements of the first two levels, headings the keys above and of them. Locators are lines
    where the text is the file's own, in which only escapes like `\u00e9` are shown as what they stand for.

    Raises:
        ParseError: `binary`, `wrong_type`, `corrupt`, `too_deep`, `too_long`.
    """
    text = decode(data)
    limits.check_characters(len(text))
    if not _OPENS_VALUE.match(text):
        raise ParseError("wrong_type", "The name says JSON, but the content is none. Give it its right suffix.")
    if not text or text.isspace() or json_lines.has_objects_on_lines(text):
        return json_lines.parse(data, name, limits)
    text = readable(text)
    located = text.count("\n") >= len(text) // _LINE_CHARACTERS
    if not located:
        text = _laid_out(text, limits)
    return Document(name, text, tuple(_blocks(text, located)), "application/json")


def _laid_out(text: str, limits: ParserLimits) -> str:
    """The same tokens with a line for each member and element."""
    out: list[str] = []
    length = depth = 0
    begins_line = False
    before = ""
    for kind, start, end in tokens(text):
        if kind in "}]":
            depth -= 1
            begins_line = before not in "{["
        piece = text[start:end]
        if begins_line:
            piece = "\n" + "  " * min(depth, _MAX_INDENT) + piece
        if kind == ":":
            piece = ": "
        depth += kind in "{["
        begins_line = kind in "{[,"
        before = kind
        out.append(piece)
        length += len(piece)
        limits.check_characters(length)
    return "".join(out)


@dataclass(slots=True)
class _Member:
    """A member of an object or an element of an array; `key` is "" in an array."""

    start: int
    end: int = 0
    key: str = ""
    is_container: bool = False
    inner: list[_Member] = field(default_factory=list)


def _outline(text: str) -> _Member:
    """The value and its members down to two levels, each from its key to its value's end."""
    root = _Member(0)
    path = [root]  # the open containers that are looked into, the innermost last
    depth = 0
    current: _Member | None = None
    for kind, start, end in tokens(text):
        if kind in ("{", "["):
            depth += 1
            if depth == 1:
                root.is_container = True
            elif depth <= _LEVELS + 1:
                current = current or _added(path[-1], start)
                current.is_container = True
                if depth <= _LEVELS:
                    path.append(current)
                    current = None
        elif kind in ("}", "]"):
            if 1 < depth <= _LEVELS:
                current = path.pop()
            depth -= 1
            if 1 <= depth <= _LEVELS and current:
                current.end, current = end, None
        elif kind == "key" and depth <= _LEVELS:
            current = _added(path[-1], start)
            current.key = _shown_key(text[start:end])
        elif kind in ("string", "scalar") and 1 <= depth <= _LEVELS:
            current = current or _added(path[-1], start)
            current.end, current = end, None
    root.end = len(text)
    return root


def _added(parent: _Member, start: int) -> _Member:
    parent.inner.append(_Member(start))
    return parent.inner[-1]


def _shown_key(token: str) -> str:
    return one_line(clean(json.loads(token)))


def _blocks(text: str, located: bool) -> Iterator[Block]:
    """Blocks that cover all of the text: each goes on to where the next one begins, closing brackets included."""
    opening = len(text) - len(text.lstrip())
    starts = list(_starts(_outline(text).inner, (), opening, 1)) or [(opening, ())]
    line, counted = 1, 0
    for at, (start, headings) in enumerate(starts):
        behind = starts[at + 1][0] if at + 1 < len(starts) else len(text)
        end = start + len(text[start:behind].rstrip())
        locator = Locator()
        if located:
            first = line + text.count("\n", counted, start)
            line, counted = first + text.count("\n", start, end), end
            locator = Locator(lines=(first, line))
        yield Block(start, end, "code", headings, locator)


def _starts(
    members: list[_Member], path: tuple[str, ...], opening: int, level: int
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Where blocks begin, and under which keys. The first begins at `opening`, before the bracket."""
    last = ""  # what the block before is made of
    began = opening
    for at, member in enumerate(members):
        start = member.start if at else opening
        length = member.end - member.start
        own_path = (*path, member.key) if member.key else path
        if member.inner and level < _LEVELS and length > _LARGE:
            yield from _starts(member.inner, own_path, start, level + 1)
            last = ""
        elif member.is_container or (member.key and length > _LONG):
            if last != "elements" or member.key or member.end - began > _SMALL:
                yield start, own_path
                began = start
            last = "" if member.key else "elements"
        elif last != "scalars":
            yield start, path
            last = "scalars"
