"""What of a passage can be quoted by itself: sentences, list items, table rows and short blocks of code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag.documents import SearchHit
from rag.sentences import Span, split_sentences

LONGEST_CODE_LINES = 12
LONGEST_LIST = 6

_FENCE = re.compile(r"```|~~~")
_HEADING = re.compile(r"#{1,6}\s")
_LINE_LIKE = re.compile(r"[-*+•|]\s?|\(?\d{1,3}[.)]\s|[a-zA-Z]\)\s|```|~~~")
_FRONT_MATTER = re.compile(r"---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_LETTER = re.compile(r"[^\W_]")


@dataclass(frozen=True, slots=True)
class Quotable:
    """A span of a hit's chunk: `hit.chunk.text[start:end]`. `context` is what it is read after: heading or question."""

    hit_index: int
    hit: SearchHit
    start: int
    end: int
    heading: str = ""
    before: str = ""

    @property
    def text(self) -> str:
        """The words, as they stand in the chunk."""
        return self.hit.chunk.text[self.start : self.end]

    @property
    def place(self) -> tuple[str, int]:
        """Document, and characters from its start: equal for the same words in overlapping chunks."""
        return self.hit.chunk.document_id, self.hit.chunk.char_start + self.start

    @property
    def is_line(self) -> bool:
        """Stands on a line of its own: a list item, a table row, code."""
        return is_line(self.text)


def is_line(text: str) -> bool:
    """Whether the text is a list item, a table row or a block of code."""
    return bool(_LINE_LIKE.match(text)) or "\t" in text or " | " in text


def quotables(hits: Sequence[SearchHit]) -> list[Quotable]:
    """Everything that can be quoted, each place of a document once; headings, front matter and bare
    markup left out."""
    seen: set[tuple[str, int]] = set()
    found: list[Quotable] = []
    for index, hit in enumerate(hits):
        for quotable in _of_hit(index, hit):
            if quotable.place not in seen:
                seen.add(quotable.place)
                found.append(quotable)
    return found


def _of_hit(index: int, hit: SearchHit) -> Iterator[Quotable]:
    text = hit.chunk.text
    heading, before = " ".join(hit.chunk.headings), ""
    front = _FRONT_MATTER.match(text) if hit.chunk.char_start == 0 else None
    spans = [span for span in split_sentences(text) if front is None or span[0] >= front.end()]
    for start, end in _whole_lists(text, _whole_code(text, spans)):
        words = text[start:end]
        if _HEADING.match(words):
            heading = words
        elif _LETTER.search(words) and not (_FENCE.match(words) and words.count("\n") > LONGEST_CODE_LINES + 1):
            yield Quotable(index, hit, start, end, heading=heading, before=before)
        before = words


def _whole_code(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """Join the lines of each fenced block to one span."""
    opened: int | None = None
    for start, end in spans:
        if _FENCE.match(text, start):
            if opened is not None:
                yield opened, end
            opened = start if opened is None else None
        elif opened is None:
            yield start, end
    if opened is not None:
        yield opened, spans[-1][1]


def _whole_lists(text: str, spans: Iterator[Span]) -> Iterator[Span]:
    """Join a line that ends in a colon to the list or the code that it announces, if that is short."""
    rest = list(spans)
    at = 0
    while at < len(rest):
        start, end = rest[at]
        last = at
        if text[end - 1] == ":" and not _HEADING.match(text, start):
            while last + 1 < len(rest) and _LINE_LIKE.match(text, rest[last + 1][0]):
                last += 1
        if last - at > LONGEST_LIST or text.count("\n", start, rest[last][1]) > LONGEST_CODE_LINES + 2:
            last = at
        yield start, rest[last][1]
        at = last + 1
