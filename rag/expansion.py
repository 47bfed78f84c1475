"""What stands around the hits in their documents, within a budget of tokens, so that a model reads whole sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rag.documents import Candidate, Chunk, Scores, SearchHit, text_key
from rag.ledger.outlines import Outline

MOST_REACH: Final = 64  # chunks on each side
LEAST_TOKENS: Final = 16  # a chunk has more of them, as a rule

Count = Callable[[str], int]
Join = Callable[[Sequence[Candidate]], Sequence[SearchHit]]


def reach_of(budget_tokens: int) -> int:
    """How many chunks on each side of a hit can matter."""
    return min(MOST_REACH, max(1, budget_tokens // LEAST_TOKENS))


def expand(
    hits: Sequence[SearchHit],
    outlines: Sequence[Outline],
    budget_tokens: int,
    *,
    count: Count,
    join: Join,
    scores: Mapping[str, Scores] | None = None,
) -> tuple[SearchHit, ...]:
    """Add what stands near the hits: the chunk before and the one behind, and the rest of their section.

    The nearest come first, at equal distance those of the better hit. A chunk that does not fit ends its direction, so
    that no gap is left between a hit and what expands it. What stands there already, or in the same words, is not
    added again.

    Args:
        hits: best first.
        outlines: of the chunks near them, each document's in ascending order.
        budget_tokens: of all that is added.
        count: tokens of a text.
        join: candidates as hits; one of a generation that is not visible any more is left out.
        scores: of what was a candidate itself, by chunk id.

    Returns:
        Hits that name in `expands` what they belong to, in the order in which they were added.
    """
    added: list[SearchHit] = []
    seen = {hit.chunk.id for hit in hits}
    said = {text_key(hit.chunk.embedded_text) for hit in hits}
    left, distance = budget_tokens, 0
    directions = _directions(hits, outlines)
    while directions and left > 0:
        near = [direction.outlines[distance] for direction in directions]
        found = {
            hit.chunk.id: hit for hit in join([_candidate(o, scores or {}) for o in near if o.chunk_id not in seen])
        }
        is_closed: set[int] = set()
        for number, (direction, outline) in enumerate(zip(directions, near, strict=True)):
            if outline.chunk_id in seen:
                continue
            hit = found.get(outline.chunk_id)
            tokens = count(hit.chunk.text) if hit else 0
            if hit is None or tokens > left:
                is_closed.add(number)
                continue
            seen.add(outline.chunk_id)
            key = text_key(hit.chunk.embedded_text)
            if key not in said:
                said.add(key)
                added.append(replace(hit, expands=direction.hit.chunk.id))
                left -= tokens
        distance += 1
        directions = [
            each for at, each in enumerate(directions) if at not in is_closed and len(each.outlines) > distance
        ]
    return tuple(added)


def in_reading_order(hits: Sequence[SearchHit], expansion: Sequence[SearchHit]) -> tuple[SearchHit, ...]:
    """Hits best first, each with what expands it, in the order of its document."""
    ordered: list[SearchHit] = []
    for hit in hits:
        group = [hit, *(each for each in expansion if each.expands == hit.chunk.id)]
        ordered += sorted(group, key=lambda each: each.chunk.ordinal)
    return tuple(ordered)


@dataclass(frozen=True, slots=True)
class _Direction:
    """What stands on one side of a hit, the nearest first."""

    hit: SearchHit
    outlines: tuple[Outline, ...]


def _directions(hits: Sequence[SearchHit], outlines: Sequence[Outline]) -> list[_Direction]:
    places = {(o.document_id, o.generation, o.ordinal): o for o in outlines}
    both = (_Direction(hit, _side(hit.chunk, places, step)) for hit in hits for step in (-1, 1))
    return [direction for direction in both if direction.outlines]


def _side(chunk: Chunk, places: Mapping[tuple[str, str, int], Outline], step: int) -> tuple[Outline, ...]:
    """The neighbour, and the chunks behind it as long as all stand below the same headings as the chunk."""
    found: list[Outline] = []
    ordinal = chunk.ordinal + step
    while (outline := places.get((chunk.document_id, chunk.generation, ordinal))) is not None:
        is_within = outline.headings == chunk.headings
        if is_within or not found:
            found.append(outline)
        if not is_within:
            break
        ordinal += step
    return tuple(found)


def _candidate(outline: Outline, scores: Mapping[str, Scores]) -> Candidate:
    known = scores.get(outline.chunk_id, Scores())
    return Candidate(outline.chunk_id, outline.document_id, outline.generation, known)
