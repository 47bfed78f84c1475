"""Source code: the decoded file itself is the canonical text; blocks are its definitions and what stands between them.

tree-sitter tells where a function, a class or a method begins and ends, also in files with errors. Files of other
languages, and those that no person wrote by hand, are split at blank lines. Blocks are whole lines in either case.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import PurePath

import tree_sitter

from ingest.parsers.decoding import decode
from ingest.parsers.headings import one_line
from ingest.parsers.languages import (
    ASSIGNMENTS,
    ATTACHED,
    CONTAINERS,
    FUNCTION_VALUES,
    FUNCTIONS,
    GRAMMARS,
    SECTIONS,
    WRAPPERS,
    Grammar,
)
from ingest.parsers.limits import ParserLimits
from ingest.parsers.lines import Line, block_of_lines, split_lines
from rag.documents import Document

MAX_PARSED_CHARACTERS = 1_000_000  # more were generated, and nesting takes a tree of 1,000 times its length
MAX_LINE_CHARACTERS = 5_000  # on average: longer lines were written by a tool
SMALL_CHARACTERS = 1_000  # a class up to this length stays one block
_FREE_STEPS = 2_000  # of the parser, each some hundred of its operations
_STEPS_PER_CHARACTER = 1 / 40  # on top; code takes 1/200 to 1/50
_MAX_CPU_SECONDS = 5.0  # a file that is not made to be slow takes a tenth of one
_MAX_DEPTH = 12  # of containers in containers, and of what may stand between two of them
_READ_BYTES = 1 << 16
_TELLS_NOTHING = re.compile(r"\W*(?:end\b\W*)*")  # closing braces; they go with what they close


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read a file of source code.

    Args:
        data: the file.
        name: with its suffix, which chooses the grammar; it is the title.
        limits: what the text may be.

    Returns:
        Blocks of kind `code`, located by line; a definition's heading path is its name, below those around it.

    Raises:
        ParseError: `binary` or `too_long`.
    """
    text = decode(data)
    limits.check_characters(len(text))
    lines = split_lines(text)
    grammar = GRAMMARS.get(PurePath(name).suffix.lower())
    tree = None
    if grammar and len(text) <= min(MAX_PARSED_CHARACTERS, MAX_LINE_CHARACTERS * len(lines)):
        tree = _tree(text.encode(), grammar)
    pieces = _Outline(text, lines).pieces(tree.root_node) if tree else _between_blank_lines(lines)
    blocks = (block_of_lines(lines, piece.first, piece.last, "code", piece.path) for piece in pieces)
    return Document(name, text, tuple(block for block in blocks if block), "text/x-source")


def _tree(source: bytes, grammar: Grammar) -> tree_sitter.Tree | None:
    """The syntax tree; None where the grammar cannot make sense of the file within bounds.

    Steps are counted, so that the same file is always read alike; but there are files that make single steps slow.
    """
    most = _FREE_STEPS + len(source) * _STEPS_PER_CHARACTER
    begun = time.process_time()
    steps = 0
    is_stopped = False

    def stop(_offset: int, _has_error: bool) -> bool:
        nonlocal steps, is_stopped
        steps += 1
        is_stopped = steps > most or time.process_time() - begun > _MAX_CPU_SECONDS
        return is_stopped

    def read(offset: int, _point: tree_sitter.Point) -> bytes:
        return source[offset : offset + _READ_BYTES]

    try:
        return tree_sitter.Parser(grammar.load()).parse(read, progress_callback=stop)
    except ValueError:  # how the binding says that it was stopped
        if is_stopped:
            return None
        raise


@dataclass(slots=True)
class _Piece:
    """Lines `first` to `last`, both included and counted from 0."""

    first: int
    last: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Definition:
    """A definition with the comments before it; `node` is what is defined."""

    first: int
    last: int
    names: tuple[str, ...]
    node: tree_sitter.Node


def _between_blank_lines(lines: list[Line]) -> Iterator[_Piece]:
    first = 0
    for number, line in enumerate(lines):
        if line.is_blank:
            yield _Piece(first, number - 1, ())
            first = number + 1
    yield _Piece(first, len(lines) - 1, ())


class _Outline:
    """Splits a file's lines at its definitions."""

    def __init__(self, text: str, lines: list[Line]) -> None:
        self._lines = lines
        self._starts = [line.start for line in lines]  # in characters, as the tree's are once they are looked up
        self._length = len(text)
        self._line_bytes = self._starts
        if not text.isascii():
            sizes = (len(text[a:b].encode()) for a, b in pairwise([*self._starts, len(text)]))
            self._line_bytes = [0, *accumulate(sizes)][:-1]
        self._found: list[_Piece] = []

    def pieces(self, root: tree_sitter.Node) -> list[_Piece]:
        """All lines, in pieces that do not overlap."""
        self._split(root, 0, len(self._lines) - 1, (), 0)
        return self._found

    def _split(self, node: tree_sitter.Node, first: int, last: int, path: tuple[str, ...], depth: int) -> None:
        at = first
        for found in self._definitions(node):
            begin, end = max(found.first, at), min(found.last, last)
            if end < begin:  # on one line with what was before it
                continue
            self._between(at, begin - 1, path)
            inner = (*path, *found.names)
            if self._is_cut(found, begin, end) and depth < _MAX_DEPTH:
                self._split(found.node, begin, end, inner, depth + 1)
            else:
                self._found.append(_Piece(begin, end, inner))
            at = end + 1
        self._between(at, last, path)

    def _is_cut(self, found: _Definition, first: int, last: int) -> bool:
        behind = self._starts[last + 1] if last + 1 < len(self._starts) else self._length
        return found.node.type in CONTAINERS and behind - self._starts[first] > SMALL_CHARACTERS

    def _between(self, first: int, last: int, path: tuple[str, ...]) -> None:
        """A piece of what is between definitions; closing braces go with what is before them."""
        if first > last:
            return
        if self._found and all(_TELLS_NOTHING.fullmatch(line.text) for line in self._lines[first : last + 1]):
            self._found[-1].last = last
        else:
            self._found.append(_Piece(first, last, path))

    def _definitions(self, node: tree_sitter.Node) -> Iterator[_Definition]:
        """The definitions right below a node, each from the first of the comments that touch it."""
        opening: int | None = None
        behind = -1  # the last line of what is before
        for child in _members(node, 0):
            first, last = self._line_at(child.start_byte), self._line_at(max(child.start_byte, child.end_byte - 1))
            if opening is not None and first > behind + 1:
                opening = None
            if "comment" in child.type or child.type in ATTACHED:
                if opening is None and first > behind:  # else it says something of the line that it ends
                    opening = first
            else:
                defined = _defined(child, 0)
                if defined is not None:
                    yield _Definition(first if opening is None else opening, last, _names(defined), defined)
                opening = None
            behind = last

    def _line_at(self, byte: int) -> int:
        return max(0, bisect_right(self._line_bytes, byte) - 1)


def _members(node: tree_sitter.Node, depth: int) -> Iterator[tree_sitter.Node]:
    for child in node.named_children:
        if child.type in SECTIONS and depth < _MAX_DEPTH:
            yield from _members(child, depth + 1)
        else:
            yield child


def _defined(node: tree_sitter.Node, depth: int) -> tree_sitter.Node | None:
    """What a statement defines, if it does."""
    kind = node.type
    if kind in FUNCTIONS:
        return node
    if kind in CONTAINERS:
        only_named = kind.startswith("namespace") or kind.endswith("_specifier")
        return node if not only_named or node.child_by_field_name("body") else None
    if kind in ASSIGNMENTS:
        value = node.child_by_field_name(ASSIGNMENTS[kind][1])
        return node if value is not None and value.type in FUNCTION_VALUES else None
    if kind in WRAPPERS and depth < _MAX_DEPTH:
        return next((found for child in node.named_children if (found := _defined(child, depth + 1))), None)
    return None


def _names(node: tree_sitter.Node) -> tuple[str, ...]:
    """The heading path that a definition adds: its name, and for a method outside of its type the type's name."""
    if node.type == "impl_item":
        of, trait = _text(node.child_by_field_name("type")), _text(node.child_by_field_name("trait"))
        return _shown([f"{trait} for {of}" if trait else of])
    name = node.child_by_field_name(ASSIGNMENTS[node.type][0] if node.type in ASSIGNMENTS else "name")
    receiver = node.child_by_field_name("receiver")  # Go
    if receiver is not None and receiver.named_children:
        of = _text(receiver.named_children[0].child_by_field_name("type"))
        return _shown([of.lstrip("*").partition("[")[0], _text(name)])
    if name is None:
        declarator = node.child_by_field_name("declarator")  # C and C++
        while declarator is not None:
            name, declarator = declarator, declarator.child_by_field_name("declarator")
    if name is None and node.type in ("companion_object", "init_declaration", "deinit_declaration"):
        return (node.type.removesuffix("_declaration").replace("_", " "),)
    return _shown([_text(name)])


def _text(node: tree_sitter.Node | None) -> str:
    return (node.text or b"").decode("utf-8", "replace") if node is not None else ""


def _shown(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in map(one_line, names) if name)
