"""The one canonical citation, from which every client dialect is derived."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from rag.documents import Locator, Scores, SearchHit

Verdict = Literal["quoted", "supported", "weak", "unsupported"]


@dataclass(frozen=True, slots=True)
class Citation:
    """A span of an answer, and the span of a document that supports it.

    `answer_start:answer_end` are characters of the answer; `char_start:char_end` are characters of the document's
    canonical text, where they slice to `quote` exactly. `support` is 0 to 1.
    """

    id: str
    store_id: str
    document_id: str
    title: str
    uri: str
    generation: str
    chunk_id: str
    answer_start: int
    answer_end: int
    quote: str
    char_start: int
    char_end: int
    page_start: int | None
    page_end: int | None
    headings: tuple[str, ...]
    locator: Locator
    scores: Scores
    support: float
    verdict: Verdict

    @classmethod
    def of_hit(
        cls,
        hit: SearchHit,
        *,
        number: int,
        answer: tuple[int, int],
        quote: tuple[int, int],
        support: float,
        verdict: Verdict,
    ) -> Citation:
        """Cite `quote`, a span of characters of the hit's chunk, for `answer`, a span of characters of the answer."""
        chunk = hit.chunk
        start, end = quote
        headings, locator = chunk.place_of(start, end)
        return cls(
            id=f"cit_{number}", store_id=hit.store_id, document_id=chunk.document_id, title=hit.title, uri=hit.uri,
            generation=chunk.generation, chunk_id=chunk.id, answer_start=answer[0], answer_end=answer[1],
            quote=chunk.text[start:end], char_start=chunk.char_start + start, char_end=chunk.char_start + end,
            page_start=locator.page, page_end=locator.page_end or locator.page,
            headings=headings, locator=locator, scores=hit.scores, support=round(support, 4),
            verdict=verdict,
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """The citation as JSON types."""
        fields = asdict(self)
        return {**fields, "headings": list(self.headings), "locator": self.locator.as_dict()}
