"""Cut a document into chunks that fit the embedder, at the best boundaries that there are.

One pass of the tokenizer over the text tells where every token begins. From the start of a chunk the limit gives the
furthest place where it may end, and among the boundaries up to there the best one is taken: the end of a block, then
the best place that there is inside of a block of its kind (`ingest.boundaries`), white space, and at last any token.
A heading, a slide and a cell begin a chunk unless little was said before, and a heading never ends one; a chunk never
reaches from one sheet or entry into the next; a table or a code block that fits into a chunk is never cut. The parts
of a table that does not fit carry its header in their prefix.

Where an overlap is asked for, a chunk begins with the end of the one before: at the first block or sentence of it that
lies within so many tokens, or at a word where none does. What begins a section, sheet or entry begins with nothing of
the one before, whose heading path would be wrong for it.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ingest.boundaries import SHOWN, find_boundaries, first_inside, last_inside, last_within, whole_cover
from ingest.prefixes import Prefixes
from rag.documents import Chunk, Document, Locator, chunk_id, line_breaks, locate
from rag.protocols import Tokenizer

RECIPE = "chunks-2"  # goes into the generation, beside the parser's recipe and the limit

_SEGMENT_CHARACTERS = 1 << 16  # tokenized at once: bounds the memory of the offsets, a pair of integers a token
_CHARACTERS_PER_TOKEN = 16  # a long unbroken run is one unknown token to a word-piece model, but no passage to quote
_TINY_SHARE = 8  # a section shorter than this part of the limit is joined with the next
_PREFIX_SHARE = 4  # the heading path takes at most this part of the limit, and so does a table's header
_WORD_START = re.compile(r"\s+(?=\S)")
_ATOMIC = frozenset({"table", "code"})


def chunk_document(
    document: Document,
    document_id: str,
    generation: str,
    tokenizer: Tokenizer,
    max_tokens: int,
    *,
    overlap_tokens: int = 0,
    titled: bool = True,
) -> list[Chunk]:
    """Cut a document.

    Args:
        document: what a parser made.
        document_id: goes into the chunks and their ids.
        generation: likewise.
        tokenizer: the embedder's.
        max_tokens: the longest `embedded_text`, prefix included, in the tokenizer's tokens.
        overlap_tokens: how many of them a chunk may share with the one before, at most half of `max_tokens`.
        titled: whether the title is the document's own and opens the prefix. The name of a file does not, or
            renaming the file would change what is embedded.

    Returns:
        Chunks in the document's order; every character of its text that is not white space lies in one of them, and
        without an overlap in exactly one. None lies within another. `headings` is the heading path of the chunk's
        first block, `locator` spans all its blocks.
    """
    overlap = min(overlap_tokens, max_tokens // 2)
    return list(_Cutter(document, document_id, generation, tokenizer, max_tokens, overlap, titled=titled).chunks())


class _Cutter:
    def __init__(
        self,
        document: Document,
        document_id: str,
        generation: str,
        tokenizer: Tokenizer,
        max_tokens: int,
        overlap_tokens: int,
        *,
        titled: bool,
    ) -> None:
        self._text = document.text
        self._document_id = document_id
        self._generation = generation
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._overlap_tokens = overlap_tokens
        self._blocks = whole_cover(document)
        self._starts = array("Q", [block.start for block in self._blocks])
        self._tokens = _token_starts(self._text, self._starts, tokenizer)
        share = max_tokens // _PREFIX_SHARE
        self._prefixes = Prefixes(document.title if titled else "", tokenizer, share, share)
        # Under the longest heading path that there can be, so that "fits into a chunk" holds for every one.
        self._least_room = max_tokens - share
        self._boundaries = find_boundaries(self._blocks)

    def chunks(self) -> Iterator[Chunk]:
        """The chunks, in order."""
        position = self._next_shown(0)
        line_ends = _LineEnds(self._text)
        ordinal = 0
        begun_at = behind = -1
        while position is not None:
            position, prefix, end = self._next_cut(begun_at, behind, position)
            first = self._block_at(position)
            text = self._text[position:end].rstrip()
            end = position + len(text)
            blocks = tuple(self._blocks[first : self._block_at(end - 1) + 1])
            block = blocks[0]
            begun = _moved(block.locator, line_ends.count(block.start, position))
            yield Chunk(
                id=chunk_id(self._document_id, self._generation, ordinal),
                document_id=self._document_id,
                generation=self._generation,
                ordinal=ordinal,
                text=text,
                char_start=position,
                char_end=end,
                headings=block.headings,
                locator=locate(blocks, text, position, (position, end), begun),
                prefix=prefix,
                blocks=blocks,
            )
            ordinal += 1
            begun_at, behind = position, end
            position = self._next_shown(end)

    def _next_cut(self, begun_at: int, behind: int, position: int) -> tuple[int, str, int]:
        """Where the next chunk begins, its prefix, and its end.

        Args:
            begun_at: where the chunk before begins.
            behind: where it ends.
            position: what comes next and was in no chunk.
        """
        start = self._shared_from(begun_at, behind, position) if self._overlap_tokens and begun_at >= 0 else None
        if start is not None:
            prefix, end = self._cut(start, self._block_at(start))
            # Much is said twice then, so enough has to be new: else a table that no longer fits would go in splinters.
            if end == len(self._text) or self._count(position, end) >= max(1, self._max_tokens // _TINY_SHARE):
                return start, prefix, end
        prefix, end = self._cut(position, self._block_at(position))
        return position, prefix, end

    def _shared_from(self, begun_at: int, behind: int, position: int) -> int | None:
        """Where in the chunk before the shared text begins, None where nothing is shared."""
        edges = [
            last_within(each, begun_at + 1, position) for each in (self._boundaries.walls, self._boundaries.sections)
        ]
        least = max(begun_at + 1, *(edge or 0 for edge in edges))
        tokens = self._tokens
        at = max(bisect_left(tokens, behind) - self._overlap_tokens, bisect_left(tokens, least))
        while at < len(tokens) and tokens[at] < behind:
            start = self._passage_from(tokens[at], behind)
            if start is None:
                return None
            # A slice can have more tokens than the pass over the whole text saw in it.
            surplus = self._tokenizer.count(self._text[start:behind]) - self._overlap_tokens
            if surplus <= 0:
                return start
            at = max(at + 1, bisect_left(tokens, start) + surplus)  # a character can have several tokens
        return None

    def _passage_from(self, least: int, behind: int) -> int | None:
        """The first place from `least` on where a passage can begin that ends at `behind`: block, sentence or word."""
        at = bisect_left(self._starts, least)
        block = self._starts[at] if at < len(self._starts) and self._starts[at] < behind else None
        inside = first_inside(self._text, self._blocks[self._block_at(least)], least, behind - 1)
        places = [place for place in (block, inside) if place is not None]
        if not places:
            space = _WORD_START.search(self._text, max(least - 1, 0), behind)
            return space.end() if space else None
        found = SHOWN.search(self._text, min(places), behind)
        return found.start() if found else None

    def _cut(self, start: int, first: int) -> tuple[str, int]:
        """The prefix, and the end of the chunk from `start`, counted exactly: a slice can have more tokens than the
        pass over the whole text saw in it."""
        prefix, taken = self._prefixes.of(self._text, self._blocks[first], start)
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
        wall = self._next(self._boundaries.walls, start)
        section = self._section_within(start, min(furthest, wall))
        if section is not None:
            return section
        if furthest >= wall:
            return wall
        crossed = self._block_at(furthest - 1)
        block = self._blocks[crossed]
        keeps_whole = block.kind in _ATOMIC and self._fits(block.start, block.end)
        least = start + 1 if keeps_whole else self._furthest(start, max(1, room // 3))
        cut = last_within(self._boundaries.starts, least, furthest)
        if cut is None and keeps_whole and block.start > start:
            cut = block.start  # a heading and its table do not fit together: rather part them
        if cut is None and not keeps_whole:
            cut = last_inside(self._text, block, self._furthest(start, max(1, room // 2)), furthest)
        if cut is None:
            not_tiny = self._furthest(start, max(1, self._max_tokens // _TINY_SHARE))
            cut = last_within(self._boundaries.starts, not_tiny, furthest)
        return cut or self._last_space(start, furthest)

    def _section_within(self, start: int, furthest: int) -> int | None:
        """The first section up to `furthest` before which enough was said."""
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

    def _fits(self, start: int, end: int) -> bool:
        room = self._least_room
        return end - start <= room * _CHARACTERS_PER_TOKEN and self._count(start, end) <= room

    def _block_at(self, place: int) -> int:
        """The index of the block that holds `place`, or of the last one before it."""
        return max(0, bisect_right(self._starts, place) - 1)

    def _next(self, places: Sequence[int], start: int) -> int:
        """The first of the ascending places behind `start`, or the end of the text."""
        at = bisect_right(places, start)
        return places[at] if at < len(places) else len(self._text)

    def _next_shown(self, place: int) -> int | None:
        found = SHOWN.search(self._text, place)
        return found.start() if found else None


class _LineEnds:
    """Counts line ends from a block's start; places are asked for in ascending order, so that each is met once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._start = self._place = self._found = 0

    def count(self, start: int, place: int) -> int:
        """Line ends from the block's `start` to `place`."""
        if start != self._start:
            self._start, self._place, self._found = start, start, 0
        self._found += line_breaks(self._text, self._place, place)
        self._place = place
        return self._found


def _moved(locator: Locator, lines: int) -> Locator:
    """Where the line begins that is so many lines further down in a block of this locator."""
    if not lines or (locator.lines is None and locator.rows is None):
        return locator
    ranges = [(min(each[0] + lines, each[1]), each[1]) if each else None for each in (locator.lines, locator.rows)]
    return replace(locator, lines=ranges[0], rows=ranges[1])


def _token_starts(text: str, block_starts: Sequence[int], tokenizer: Tokenizer) -> array[int]:
    """Where each token begins, from one pass over the text in segments that end at a block or at white space."""
    starts = array("Q")
    begin = 0
    while begin < len(text):
        end = min(begin + _SEGMENT_CHARACTERS, len(text))
        if end < len(text):
            block = last_within(block_starts, begin + 1, end)
            if block is not None:
                end = block
            else:
                space = max(text.rfind(" ", begin + 1, end), text.rfind("\n", begin + 1, end))
                end = space if space > begin else end
        starts.extend([begin + span[0] for span in tokenizer.offsets(text[begin:end])])
        begin = end
    return starts
