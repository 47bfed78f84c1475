"""Which of the ranked hits take the places: each wording once, few of one document, and unlike each other; pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from rag.documents import SearchHit, text_key
from rag.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = Mapping[str, NDArray[np.float32]]

PassedOver = Literal["capped", "diversified"]

POOL: Final = 50  # hits that compete for the places where likeness counts; never fewer than twice the places


@dataclass(frozen=True, slots=True)
class Choice:
    """The hits that take the places, in the order in which they were chosen.

    Attributes:
        passed_over: chunk id of others -> why: `capped`, their document has all the places that it may have;
            `diversified`, they stood above one that was chosen and are too much like the chosen.
    """

    hits: tuple[SearchHit, ...]
    passed_over: Mapping[str, PassedOver]


def check_choice(per_document: int, diversity: float) -> None:
    """Raises InvalidInputError where one of them is out of its bounds."""
    if per_document < 0:
        raise InvalidInputError(f"per_document must be at least 0, which is no limit, not {per_document}.")
    if not 0 <= diversity <= 1:
        raise InvalidInputError(f"diversity must lie in 0 to 1, not {diversity}.")


def distinct(hits: Sequence[SearchHit]) -> tuple[list[SearchHit], dict[str, list[SearchHit]]]:
    """The first hit of each wording.

    Two hits say the same when all that is embedded of them is equal, heading path and text, in whatever document they
    stand. The same sentence below another heading may mean something else, and stays.

    Args:
        hits: best first.

    Returns:
        The hits that stay, and by the chunk id of such a one the others that say the same, best first.
    """
    first: dict[str, str] = {}
    kept: list[SearchHit] = []
    copies: defaultdict[str, list[SearchHit]] = defaultdict(list)
    for hit in hits:
        known = first.setdefault(text_key(hit.chunk.embedded_text), hit.chunk.id)
        if known == hit.chunk.id:
            kept.append(hit)
        else:
            copies[known].append(hit)
    return kept, dict(copies)


def places_taken(hits: Sequence[SearchHit], per_document: int) -> int:
    """How many places these hits can take: each wording one, and each document so many at most (0 is no limit)."""
    documents = Counter(hit.chunk.document_id for hit in distinct(hits)[0])
    return sum(min(number, per_document or number) for number in documents.values())


def pool_for(wanted: int, diversity: float) -> int:
    """How many hits must compete for so many places."""
    return max(2 * wanted, POOL) if diversity else wanted


def choose(
    hits: Sequence[SearchHit],
    wanted: int,
    *,
    per_document: int = 0,
    diversity: float = 0.0,
    vectors: Vectors | None = None,
) -> Choice:
    """Give the places to hits, one by one: to the best of its score less its likeness to those that have one.

    The next hit is the one of the highest `(1 - diversity) * score - diversity * likeness`, the likeness being the
    highest cosine to a chosen hit; of equals the better ranked one. The first hit is always the best ranked.

    Args:
        hits: best first, each wording once, with scores in 0 to 1.
        wanted: places.
        per_document: hits of one document at most; 0 is no limit.
        diversity: share of the likeness, 0 to 1; 0 leaves the order as it is.
        vectors: of length 1, by chunk id; a hit without one is like no other. Not needed at diversity 0.

    Raises:
        InvalidInputError: `per_document` or `diversity` is out of its bounds.

    Source: Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
    Summaries", SIGIR 1998.
    """
    check_choice(per_document, diversity)
    taken: Counter[str] = Counter()
    ranking = _by_margin(hits, taken, per_document, diversity, vectors or {}) if diversity else iter(range(len(hits)))
    chosen: list[int] = []
    for place in ranking:
        if len(chosen) == wanted:
            break
        if not per_document or taken[hits[place].chunk.document_id] < per_document:
            chosen.append(place)
            taken[hits[place].chunk.document_id] += 1
    last = max(chosen, default=-1)
    passed_over: dict[str, PassedOver] = {}
    for place in sorted(set(range(len(hits))) - set(chosen)):
        chunk = hits[place].chunk
        if per_document and taken[chunk.document_id] >= per_document:
            passed_over[chunk.id] = "capped"
        elif place < last:
            passed_over[chunk.id] = "diversified"
    return Choice(tuple(hits[place] for place in chosen), passed_over)


def _by_margin(
    hits: Sequence[SearchHit], taken: Mapping[str, int], per_document: int, diversity: float, vectors: Vectors
) -> Iterator[int]:
    """Places in the ranking, the one that adds most first; what is full by then neither comes nor counts as chosen."""
    if not hits:
        return
    relevance = (1 - diversity) * np.array([hit.score for hit in hits])
    directions = _matrix(hits, vectors)
    likeness = np.full(len(hits), -np.inf)
    is_open = np.ones(len(hits), dtype=bool)
    documents = np.array([hit.chunk.document_id for hit in hits])
    place = 0
    while is_open.any():
        yield place
        is_open[place] = False
        if per_document and taken[hits[place].chunk.document_id] >= per_document:
            is_open &= documents != documents[place]
        likeness = np.maximum(likeness, directions @ directions[place])
        margin = np.where(is_open, relevance - diversity * likeness, -np.inf)
        place = int(np.argmax(margin))


def _matrix(hits: Sequence[SearchHit], vectors: Vectors) -> NDArray[np.float64]:
    dimension = next((len(vector) for vector in vectors.values()), 1)
    nothing = np.zeros(dimension, dtype=np.float32)
    return np.stack([vectors.get(hit.chunk.id, nothing) for hit in hits]).astype(np.float64)
