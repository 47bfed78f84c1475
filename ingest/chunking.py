"""Cut a document into chunks that fit the embedder, at the best boundaries that there are.

One pass of the tokenizer over the text tells where every token begins. From the start of a chunk the limit gives the
furthest place where it may end, and among the boundaries up to there the best one is taken: the end of a block, a
blank line, the end of a sentence (in prose) or of a line (in lists, tables and code), the other of the two, white
space, and at last any token. A heading begins a chunk unless little was said before it, and never ends one; a table
or a code block that fits into a chunk is never cut.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rag.documents import Block, Chunk, Document, Locator, chunk_id
from rag.protocols import Tokenizer

RECIPE = "chunks-1"  # goes into the generation, beside the parser's recipe and the limit

_SEGMENT_CHARACTERS = 1 << 16  # tokenized at once: bounds the memory of the offsets, a pair of integers a token
_CHARACTERS_PER_TOKEN = 16  # a long unbroken run is one unknown token to a word-piece model, but no passage to quote
_TINY_SHARE = 8  # a section shorter than this part of the limit is joined with the next
_PREFIX_SHARE = 4  # the heading path takes at most this part of the limit
_ATOMIC = frozenset({"table", "code"})
_PROSE = frozenset({"paragraph", "quote", "heading"})

_BLANK_LINE = re.compile(r"\n[ \t\r]*\n\s*")
_LINE_END = re.compile(r"[\r\n]\s*")
_SENTENCE_END = re.compile(r"[.!?…][\"')\]’”»]*\s+(?=[^\sa-z])|[。！？](?=[^\s。！？])")
_LINE_BREAK = re.compile(r"\r\n|\n|\r")
_SPACE = re.compile(r"\s+")
_SHOWN = re.compile(r"\S")


def chunk_document(
    document: Document, document_id: str, generation: str, tokenizer: Tokenizer, max_tokens: int
) -> list[Chunk]:
    """Cut a document.

    Args:
        document: what a parser made.
        document_id: goes into the chunks and their ids.
        generation: likewise.
        tokenizer: the embedder's.
        max_tokens: the longest `embedded_text`, heading path included, in the tokenizer's tokens.

    Returns:
        Chunks in the document's order that do not overlap; every character of its text that is not white space lies
        in exactly one. `headings` is the heading path of the chunk's first block, `locator` spans all its blocks.
    """
    return list(_Cutter(document, document_id, generation, tokenizer, max_tokens).chunks())


@dataclass(frozen=True, slots=True)
class _Boundaries:
    """Places where a chunk may begin, each list ascending. `sections` are where it should."""

    sections: array[int]
    ranked: tuple[array[int], array[int], array[int], array[int]]


class _Cutter:
    def __init__(
        self, document: Document, document_id: str, generation: str, tokenizer: Tokenizer, max_tokens: int
    ) -> None:
        self._document = document
        self._text = document.text
        self._document_id = document_id
        self._generation = generation
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._blocks = _whole_cover(document)
        self._starts = array("Q", [block.start for block in self._blocks])
        self._tokens = _token_starts(self._text, self._starts, tokenizer)
        self._prefixes: dict[tuple[str, ...], tuple[str, int]] = {}
        # Under the longest prefix that there can be, so that "fits into a chunk" holds for every heading path.
        least_room = max_tokens - max_tokens // _PREFIX_SHARE
        self._whole = [self._fits(block.start, block.end, least_room) for block in self._blocks]
        self._boundaries = self._find_boundaries()

    def chunks(self) -> Iterator[Chunk]:
        """The chunks, in order."""
        position = self._next_shown(0)
        line_counter = _LineCounter(self._text)
        ordinal = 0
        while position is not None:
            first = self._block_at(position)
            headings = self._blocks[first].headings
            prefix, end = self._cut(position, headings)
            end = position + len(self._text[position:end].rstrip())
            yield Chunk(
                id=chunk_id(self._document_id, self._generation, ordinal),
                document_id=self._document_id,
                generation=self._generation,
                ordinal=ordinal,
                text=self._text[position:end],
                char_start=position,
                char_end=end,
                headings=headings,
                locator=self._locator(first, position, end, line_counter),
                prefix=prefix,
                blocks=tuple(self._blocks[first : self._block_at(end - 1) + 1]),
            )
            ordinal += 1
            position = self._next_shown(end)

    def _cut(self, start: int, headings: tuple[str, ...]) -> tuple[str, int]:
        """The prefix, and the end of the chunk from `start`, counted exactly: a slice can have more tokens than the
        pass over the whole text saw in it."""
        prefix, taken = self._prefix(headings)
        room = self._max_tokens - taken
        while True:
            end = self._end(start, room)
            text = self._text[start:end].rstrip()
            surplus = self._tokenizer.count(f"{prefix}\n{text}" if prefix else text) - self._max_tokens
            if surplus <= 0:
                return prefix, end
            if room > 1:
                allowed = self._max_tokens - taken
                room = max(1, min(room - 1, self._count(start, end) * allowed // (allowed + surplus)))
            elif prefix:
                prefix, taken, room = "", 0, self._max_tokens
            else:
                return prefix, max(start + 1, start + len(text) // 2) if len(text) > 1 else end

    def _end(self, start: int, room: int) -> int:
        """Where the chunk from `start` ends best if it may have `room` tokens."""
        furthest = self._furthest(start, room)
        section = self._section_within(start, furthest)
        if section is not None:
            return section
        if furthest >= len(self._text):
            return furthest
        blocks, *others = self._boundaries.ranked
        crossed = self._block_at(furthest - 1)
        keeps_whole = self._whole[crossed] and self._blocks[crossed].kind in _ATOMIC and furthest < len(self._text)
        least = start + 1 if keeps_whole else self._furthest(start, max(1, room // 3))
        cut = _last_within(blocks, least, furthest)
        if cut is None and keeps_whole and self._starts[crossed] > start:
            cut = self._starts[crossed]  # a heading and its table do not fit together: rather part them
        if cut is not None:
            return cut
        half = self._furthest(start, max(1, room // 2))
        for boundaries in others:
            cut = _last_within(boundaries, half, furthest)
            if cut is not None:
                return cut
        not_tiny = self._furthest(start, max(1, self._max_tokens // _TINY_SHARE))
        return _last_within(blocks, not_tiny, furthest) or self._last_space(start, furthest)

    def _section_within(self, start: int, furthest: int) -> int | None:
        """The first heading up to `furthest` before which enough was said."""
        sections = self._boundaries.sections
        at = bisect_right(sections, start)
        while at < len(sections) and sections[at] <= furthest:
            if self._count(start, sections[at]) >= self._max_tokens // _TINY_SHARE:
                return sections[at]
            at += 1
        return None

    def _furthest(self, start: int, room: int) -> int:
        """The place behind the last of `room` tokens from `start`; always ahead of `start`."""
        behind = bisect_left(self._tokens, start) + room
        by_tokens = self._tokens[behind] if behind < len(self._tokens) else len(self._text)
        return max(start + 1, min(by_tokens, start + room * _CHARACTERS_PER_TOKEN))

    def _last_space(self, start: int, furthest: int) -> int:
        """Behind the last white space in the chunk, or `furthest` where it has none in its second half."""
        for place in range(furthest, start + (furthest - start) // 2, -1):
            if self._text[place - 1].isspace():
                return place
        return furthest

    def _count(self, start: int, end: int) -> int:
        return bisect_left(self._tokens, end) - bisect_left(self._tokens, start)

    def _fits(self, start: int, end: int, room: int) -> bool:
        return self._count(start, end) <= room and end - start <= room * _CHARACTERS_PER_TOKEN

    def _block_at(self, place: int) -> int:
        """The index of the block that holds `place`, or of the last one before it."""
        return max(0, bisect_right(self._starts, place) - 1)

    def _next_shown(self, place: int) -> int | None:
        found = _SHOWN.search(self._text, place)
        return found.start() if found else None

    def _prefix(self, headings: tuple[str, ...]) -> tuple[str, int]:
        """The heading path as it is embedded, and its tokens, line end included."""
        if headings not in self._prefixes:
            self._prefixes[headings] = _heading_prefix(
                self._document.title, headings, self._tokenizer, self._max_tokens // _PREFIX_SHARE
            )
        return self._prefixes[headings]

    def _locator(self, first: int, start: int, end: int, line_counter: _LineCounter) -> Locator:
        last = self._block_at(end - 1)
        locator = self._blocks[first].locator.to(self._blocks[last].locator)
        if locator.lines is not None:
            locator = replace(locator, lines=(line_counter.line_of(start), line_counter.line_of(end - 1)))
        return locator

    def _find_boundaries(self) -> _Boundaries:
        sections, blocks, blanks, natural, other = (array("Q") for _ in range(5))
        for index, block in enumerate(self._blocks):
            follows_heading = index > 0 and self._blocks[index - 1].kind == "heading"
            if not follows_heading:  # else a heading would end the chunk before
                blocks.append(block.start)
                if block.kind == "heading":
                    sections.append(block.start)
            if self._whole[index] and block.kind in _ATOMIC:
                continue
            sentences, lines = (natural, other) if block.kind in _PROSE else (other, natural)
            for pattern, found in ((_BLANK_LINE, blanks), (_LINE_END, lines), (_SENTENCE_END, sentences)):
                found.extend(match.end() for match in pattern.finditer(self._text, block.start, block.end))
        return _Boundaries(sections, (blocks, blanks, natural, other))


class _LineCounter:
    """The number of the line that holds a place; places are asked for in ascending order."""

    def __init__(self, text: str) -> None:
        self._breaks = (found.end() for found in _LINE_BREAK.finditer(text))
        self._next = next(self._breaks, None)
        self._line = 1

    def line_of(self, place: int) -> int:
        """Counted from 1."""
        while self._next is not None and self._next <= place:
            self._line += 1
            self._next = next(self._breaks, None)
        return self._line


def _whole_cover(document: Document) -> list[Block]:
    """The blocks, and paragraphs for what shows between them, so that nothing is lost that a parser left out."""
    covered: list[Block] = []
    position = 0
    headings: tuple[str, ...] = ()
    ends = Block(len(document.text), len(document.text), "paragraph")
    for block in (*document.blocks, ends):
        shown = _SHOWN.search(document.text, position, block.start)
        if shown:
            locator = covered[-1].locator if covered else block.locator
            covered.append(Block(shown.start(), block.start, "paragraph", headings, locator))
        if block is not ends:
            covered.append(block)
            headings = block.headings
        position = block.end
    return covered


def _token_starts(text: str, block_starts: Sequence[int], tokenizer: Tokenizer) -> array[int]:
    """Where each token begins, from one pass over the text in segments that end at a block or at white space."""
    starts = array("Q")
    begin = 0
    while begin < len(text):
        end = min(begin + _SEGMENT_CHARACTERS, len(text))
        if end < len(text):
            block = _last_within(block_starts, begin + 1, end)
            if block is not None:
                end = block
            else:
                space = max(text.rfind(" ", begin + 1, end), text.rfind("\n", begin + 1, end))
                end = space if space > begin else end
        starts.extend(begin + start for start, _ in tokenizer.offsets(text[begin:end]))
        begin = end
    return starts


def _last_within(places: Sequence[int], least: int, most: int) -> int | None:
    """The last of the ascending places from `least` to `most`, both included."""
    at = bisect_right(places, most) - 1
    return places[at] if at >= 0 and places[at] >= least else None


def _heading_prefix(title: str, headings: tuple[str, ...], tokenizer: Tokenizer, most: int) -> tuple[str, int]:
    """`Title > Heading > Heading`, and its tokens with the line end.

    Where it has more than `most` tokens, outer headings go first, then its end is cut off.
    """
    parts = [part for part in (_SPACE.sub(" ", part).strip() for part in (title, *headings)) if part]
    parts = [part for at, part in enumerate(parts) if at == 0 or part != parts[at - 1]]
    prefix = " > ".join(parts)
    taken = tokenizer.count(f"{prefix}\n") if prefix else 0
    while taken > most and len(parts) > 2:
        del parts[1]
        prefix = " > ".join(parts)
        taken = tokenizer.count(f"{prefix}\n")
    keep = most
    while prefix and taken > most:
        offsets = tokenizer.offsets(prefix)
        keep = min(keep, len(offsets) - 1)
        prefix = prefix[: offsets[keep][0]].rstrip(" >") if keep > 0 else ""
        taken = tokenizer.count(f"{prefix}\n") if prefix else 0
        keep -= 1  # what is cut anew can have more tokens than it had in the whole
    return prefix, taken
