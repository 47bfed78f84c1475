"""What a search is asked, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from rag.diversify import PassedOver, check_choice
from rag.documents import Candidate, SearchHit
from rag.errors import InvalidInputError
from rag.expansion import in_reading_order
from rag.filters import Filter
from rag.protocols import CandidateLists
from rag.recency import check_half_life
from rag.settings import RetrievalSettings

MAX_QUESTION_CHARACTERS = 100_000
_NO_LISTS = CandidateLists((), ())
_PER_SEARCH = ("per_document", "diversity", "expand_tokens", "recency_half_life_days")


@dataclass(frozen=True, slots=True)
class Trace:
    """What a search went through.

    Attributes:
        lists: both.
        fused: their fusion.
        ranked: those of it that were joined with the ledger, each wording once, by their final scores.
        passed_over: why ranked ones got no place, although others below them did, or places were left.
    """

    lists: CandidateLists = _NO_LISTS
    fused: Sequence[Candidate] = ()
    ranked: Sequence[SearchHit] = ()
    passed_over: Mapping[str, PassedOver] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first, and the milliseconds that each stage took.

    `expansion` is what stands around them, where that was asked for; each names its hit in `expands`. `copies` are, by
    a hit's chunk id, the passages that were left out because they say the same, best first.
    """

    question: str
    hits: tuple[SearchHit, ...]
    milliseconds: Mapping[str, float]
    trace: Trace = field(default=Trace(), repr=False)  # hundreds of candidates; asyncio.run writes results out
    expansion: tuple[SearchHit, ...] = ()
    copies: Mapping[str, Sequence[SearchHit]] = field(default_factory=dict)

    @property
    def passages(self) -> tuple[SearchHit, ...]:
        """The hits, best first, each among what expands it in the order of the document."""
        return in_reading_order(self.hits, self.expansion)


class SearchOptions(TypedDict, total=False):
    """How to search; what is left out, or None, is as configured.

    Attributes:
        k: passages at most.
        where: what a passage must satisfy besides.
        groups: of the caller, see `ChunkStore.search`.
        dense_weight: share of cosine similarity, 0 to 1, in a weighted sum of the two lists, in place of what is
            configured.
        least_score: 0 to 1; passages whose score, which is relative to the best one's, is below it are left out.
        reranked: False leaves the reranker out where one is configured.
        per_document: passages of one document at most; 0 is no limit.
        diversity: 0 to 1, how much a passage loses by being like a better one.
        expanded: True adds what stands around the hits, see `SearchResult.expansion`.
        expand_tokens: of that, at most.
        recency_half_life_days: the age at which half of what newness adds to a score is gone; 0 ignores dates.
    """

    k: int | None
    where: Filter | None
    groups: frozenset[str] | None
    dense_weight: float | None
    least_score: float | None
    reranked: bool
    per_document: int | None
    diversity: float | None
    expanded: bool
    expand_tokens: int | None
    recency_half_life_days: float | None


def as_asked(settings: RetrievalSettings, options: SearchOptions) -> RetrievalSettings:
    """The settings with what a search asks for in their place. Raises InvalidInputError for what is out of bounds."""
    given = {name: options.get(name) for name in _PER_SEARCH}
    changes = {name: value for name, value in given.items() if value is not None}
    if (weight := options.get("dense_weight")) is not None:
        changes |= {"fusion": "sum", "dense_weight": weight}
    changed = settings.model_copy(update=changes)
    check_choice(changed.per_document, changed.diversity)
    check_half_life(changed.recency_half_life_days)
    if changed.expand_tokens < 0:
        raise InvalidInputError(f"expand_tokens must be at least 0, not {changed.expand_tokens}.")
    return changed


def check_question(question: str, k: int | None) -> None:
    """Raises InvalidInputError for what cannot be searched for."""
    if not question.strip():
        raise InvalidInputError("The question is empty: ask something.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InvalidInputError(f"The question has {len(question)} characters; the limit is {MAX_QUESTION_CHARACTERS}.")
    if k is not None and k < 1:
        raise InvalidInputError(f"k must be at least 1, not {k}.")
