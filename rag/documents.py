"""Documents, chunks and hits: frozen records whose ids are derived from content, never drawn."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAMESPACE = uuid.UUID("7d1e6f0a-6d0c-5b39-9c4b-51756f746820")

BlockKind = Literal["heading", "paragraph", "list", "table", "code", "quote"]
AttributeValue = str | int | float | bool
AskedValue = AttributeValue | tuple[str, ...]
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Locator:
    """Where people look a passage up; every number counts from 1, and ranges include both ends.

    `entry` is a path inside an archive, or the name of a mail's attachment. Each line of a block with `rows` is a row.
    """

    page: int | None = None
    page_end: int | None = None
    page_label: str | None = None
    slide: int | None = None
    sheet: str | None = None
    rows: tuple[int, int] | None = None
    cell: int | None = None
    lines: tuple[int, int] | None = None
    entry: str | None = None

    def to(self, last: Locator) -> Locator:
        """The locator of a span that begins here and ends at `last`.

        Ranges grow only within one thing: rows of another sheet, or lines of another entry, cell or slide, stay out,
        and so do pages of another entry.
        """
        if (self.entry, self.sheet) != (last.entry, last.sheet):
            return replace(self, page_end=self.page_end or self.page)
        is_same = (self.slide, self.cell) == (last.slide, last.cell)
        return replace(
            self,
            page_end=last.page_end or last.page or self.page_end or self.page,
            rows=_join(self.rows, last.rows) if is_same else self.rows,
            lines=_join(self.lines, last.lines) if is_same else self.lines,
        )

    def as_dict(self) -> dict[str, Any]:
        """Only the fields that are set, as JSON types."""
        found = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Locator:
        """The inverse of `as_dict`."""
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()}
        return cls(**values)


def _join(first: Range | None, last: Range | None) -> Range | None:
    if first is None or last is None:
        return first or last
    return first[0], max(first[1], last[1])


@dataclass(frozen=True, slots=True)
class Block:
    """A span of a document's canonical text that belongs together: `text[start:end]`."""

    start: int
    end: int
    kind: BlockKind
    headings: tuple[str, ...] = ()
    locator: Locator = Locator()


@dataclass(frozen=True, slots=True)
class Document:
    """What a parser makes of one file: one canonical text, and blocks in ascending order that never overlap."""

    title: str
    text: str
    blocks: tuple[Block, ...]
    media_type: str
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A slice of a document's canonical text: `text == document.text[char_start:char_end]`.

    `blocks` are the document's blocks that it overlaps; `headings` those of the first, `locator` spans all of them.
    """

    id: str
    document_id: str
    generation: str
    ordinal: int
    text: str
    char_start: int
    char_end: int
    headings: tuple[str, ...] = ()
    locator: Locator = Locator()
    prefix: str = ""
    blocks: tuple[Block, ...] = ()

    @property
    def embedded_text(self) -> str:
        """What the embedder and the sparse encoder see: the heading path, then the slice."""
        return f"{self.prefix}\n{self.text}" if self.prefix else self.text

    def words_with(self, title: str) -> str:
        """What the word index sees: all that is embedded, and the document's title where that leaves it out.

        The name of a file is such a title: people search for it, but to change it must not change what is embedded.
        """
        return self.embedded_text if self.prefix.startswith(title) else f"{title}\n{self.embedded_text}"

    def place_of(self, start: int, end: int) -> tuple[tuple[str, ...], Locator]:
        """Heading path and locator of `text[start:end]`, as narrow as the blocks tell; lines and rows are exact."""
        begin, behind = self.char_start + start, self.char_start + end
        within = [b for b in self.blocks if b.start < behind and b.end > begin]
        if not within:
            return self.headings, self.locator
        return within[0].headings, locate(within, self.text, self.char_start, (begin, behind), self.locator)


def locate(blocks: Sequence[Block], text: str, offset: int, span: tuple[int, int], begun: Locator) -> Locator:
    """The locator of a span of a document.

    Args:
        blocks: those that the span overlaps, in order.
        text: a slice of the document's canonical text that holds the span.
        offset: where the slice begins.
        span: begin and end in the document.
        begun: the locator at `offset`, for the block that began before it: its lines and rows count from there.
    """
    first = _narrowed(blocks[0], text, offset, span, begun)
    if len(blocks) == 1:
        return first.to(first)
    inner = (block.locator for block in blocks[1:-1] if block.locator.rows)  # they may lack on a table's heading
    locator = first
    for following in (*inner, _narrowed(blocks[-1], text, offset, span, begun)):
        locator = locator.to(following)
    return locator


def _narrowed(block: Block, text: str, offset: int, span: tuple[int, int], begun: Locator) -> Locator:
    """The locator of the part of a block that lies in `span`: each of its lines is one line, or one row."""
    whole = block.locator
    begin, end = max(span[0], block.start), min(span[1], block.end)
    if (whole.lines is None and whole.rows is None) or (begin, end) == (block.start, block.end):
        return whole
    counted_from, base = (block.start, whole) if block.start >= offset else (offset, begun)
    above = line_breaks(text, counted_from - offset, begin - offset)
    below = above + line_breaks(text, begin - offset, end - offset)
    lines = _part(whole.lines, base.lines, above, below)
    return replace(whole, lines=lines, rows=_part(whole.rows, base.rows, above, below))


def _part(whole: Range | None, base: Range | None, above: int, below: int) -> Range | None:
    """A part of a block's range; a text that has more lines than its source does not lead out of the range."""
    if whole is None or base is None:
        return None
    return min(base[0] + above, whole[1]), min(base[0] + below, whole[1])


def line_breaks(text: str, start: int, end: int) -> int:
    """How many line ends `text[start:end]` holds: CR LF, LF and CR, each as one."""
    line_feeds = text.count("\n", start, end)
    if text.find("\r", start, end) < 0:
        return line_feeds
    return line_feeds + text.count("\r", start, end) - text.count("\r\n", start, end)


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Term weights: `indices` are unsigned 32-bit term ids without repeats, `values` their weights."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """What the vector store keeps of one chunk: ids, vectors and what filters may ask. No text.

    `groups` are those that may read the document; without any, everyone who may read the store. Of an attribute that
    is a tuple, filters ask whether one of its texts is as they say.
    """

    chunk_id: str
    document_id: str
    generation: str
    dense: NDArray[np.float32]
    sparse: SparseVector
    attributes: Mapping[str, AskedValue] = field(default_factory=dict)
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """How a hit came to its place. `dense` is a cosine, `sparse` BM25, `fused` and `rerank` lie in 0 to 1.

    `recency` is what its score was multiplied by for the age of its document.
    """

    dense: float | None = None
    sparse: float | None = None
    fused: float | None = None
    rerank: float | None = None
    recency: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point as a query found it, before it is joined with the ledger."""

    chunk_id: str
    document_id: str
    generation: str
    scores: Scores


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A chunk that answers a query, joined with what the ledger knows of its document.

    `attributes` are those that a user gave the document; `file_id` names the upload that it was made of, if it was.
    `date` is the document's, in seconds since 1970.
    `expands` is set where it was not found itself: it stands near the hit of this chunk id, see rag.expansion.
    """

    store_id: str
    chunk: Chunk
    title: str
    uri: str
    score: float
    scores: Scores
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    file_id: str | None = None
    date: float | None = None
    expands: str | None = None


def store_id(name: str) -> str:
    """The id of the store of this name."""
    return str(uuid.uuid5(NAMESPACE, f"store\0{name}"))


def document_id(store: str, uri: str) -> str:
    """The id of the document at `uri` in the store of id `store`."""
    return str(uuid.uuid5(NAMESPACE, f"document\0{store}\0{uri}"))


def generation_of(source_sha256: str, recipe: str) -> str:
    """Name one version of a document: the source's bytes and the recipe (parser, chunking) that reads them."""
    return hashlib.sha256(f"{source_sha256}\0{recipe}".encode()).hexdigest()[:32]


def text_key(embedded_text: str) -> str:
    """Names what an embedder sees, so that the same text is embedded once."""
    return hashlib.sha256(embedded_text.encode()).hexdigest()[:32]


def chunk_id(document: str, generation: str, ordinal: int) -> str:
    """The id of a document's chunk; the same content read the same way has the same ids."""
    return str(uuid.uuid5(NAMESPACE, f"chunk\0{document}\0{generation}\0{ordinal}"))
