"""What is embedded before a chunk's own text: the heading path, and the header of a table that is cut."""

from __future__ import annotations

import re

from rag.documents import Block
from rag.protocols import Tokenizer

_SPACE = re.compile(r"\s+")
_NAMES_COLUMNS = re.compile(r"^.*\w.*$", re.MULTILINE)  # not the line that a table is drawn with

Prefix = tuple[str, int]
"""A prefix, and the tokens that it takes with the line end behind it."""


class Prefixes:
    """The prefixes of one document's chunks, each made once.

    Args:
        title: opens the heading path; "" where the document has none of its own.
        tokenizer: the embedder's.
        max_path_tokens: of a heading path. Where it has more, outer headings go first, then its end is cut off.
        max_header_tokens: of a table's header; a longer one is left out.
    """

    def __init__(self, title: str, tokenizer: Tokenizer, max_path_tokens: int, max_header_tokens: int) -> None:
        self._title = title
        self._tokenizer = tokenizer
        self._max_path_tokens = max_path_tokens
        self._max_header_tokens = max_header_tokens
        self._paths: dict[tuple[str, ...], Prefix] = {}
        self._header_of: tuple[int, int, Prefix] = (-1, 0, ("", 0))

    def of(self, text: str, block: Block, start: int) -> Prefix:
        """The prefix of a chunk of `text` that begins at `start`, in `block`."""
        headings = block.headings
        if headings not in self._paths:
            self._paths[headings] = self._path(headings)
        path, taken = self._paths[headings]
        if block.kind != "table" or start <= block.start:
            return path, taken
        header, more = self._header(text, block, start)
        return "\n".join(part for part in (path, header) if part), taken + more

    def _header(self, text: str, table: Block, start: int) -> Prefix:
        """The table's first line that names something, for a chunk behind it; that of the last table is remembered."""
        if self._header_of[0] != table.start:
            found = _NAMES_COLUMNS.search(text[table.start : table.end])
            header, behind = (found.group().strip(), table.start + found.end()) if found else ("", table.end)
            self._header_of = table.start, behind, self._within(header, self._max_header_tokens)
        _, behind, header_prefix = self._header_of
        return header_prefix if start >= behind else ("", 0)

    def _within(self, line: str, most: int) -> Prefix:
        if not line or len(line) > most * 64:  # so long a line need not be counted
            return "", 0
        taken = self._tokenizer.count(f"{line}\n")
        return (line, taken) if taken <= most else ("", 0)

    def _path(self, headings: tuple[str, ...]) -> Prefix:
        """`Title > Heading > Heading`."""
        parts = [part for part in (_SPACE.sub(" ", part).strip() for part in (self._title, *headings)) if part]
        parts = [part for at, part in enumerate(parts) if at == 0 or part != parts[at - 1]]
        prefix, taken = self._counted(parts)
        outermost = 1 if self._title.strip() else 0
        while taken > self._max_path_tokens and len(parts) > outermost + 1:
            del parts[outermost]
            prefix, taken = self._counted(parts)
        keep = self._max_path_tokens
        while prefix and taken > self._max_path_tokens:
            offsets = self._tokenizer.offsets(prefix)
            keep = min(keep, len(offsets) - 1)
            prefix = prefix[: offsets[keep][0]].rstrip(" >") if keep > 0 else ""
            taken = self._tokenizer.count(f"{prefix}\n") if prefix else 0
            keep -= 1  # what is cut anew can have more tokens than it had in the whole
        return prefix, taken

    def _counted(self, parts: list[str]) -> Prefix:
        prefix = " > ".join(parts)
        return prefix, self._tokenizer.count(f"{prefix}\n") if prefix else 0
