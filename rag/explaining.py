"""Why a search returned what it did: the scores and ranks of every candidate, and what dropped it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import regex

from rag.access import Caller
from rag.concurrency import in_thread
from rag.diversify import distinct
from rag.documents import Candidate, SearchHit
from rag.errors import InvalidInputError
from rag.filters import Filter
from rag.fusion import fuse
from rag.ledger.library import may_read
from rag.ledger.stores import Store
from rag.protocols import CandidateLists
from rag.searching import SearchOptions, SearchResult

if TYPE_CHECKING:
    from rag.assembly import Engine

Outcome = Literal[
    "returned", "expanded", "duplicate", "capped", "diversified", "below_k", "replaced", "filtered", "hidden",
    "below_candidates",
]  # fmt: skip

EXCERPT: Final = 160

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}_]+(?:[.\-][\p{L}\p{M}\p{N}_]+)*")


@dataclass(frozen=True, slots=True)
class Asked:
    """A search that is to be explained.

    Attributes:
        k: passages that are returned; None takes the configured number.
        where: what a passage must satisfy besides.
        groups: whose view it is; None is the caller's own.
        per_document, diversity, expand_tokens, recency_half_life_days: as in SearchOptions.
    """

    stores: Sequence[Store]
    question: str
    k: int | None = None
    where: Filter | None = None
    groups: frozenset[str] | None = None
    per_document: int | None = None
    diversity: float | None = None
    expand_tokens: int | None = None
    recency_half_life_days: float | None = None

    @property
    def names(self) -> list[str]:
        """Of the stores."""
        return [store.name for store in self.stores]

    def options(self, view: frozenset[str] | None) -> SearchOptions:
        """Of the search, as an answer does it for readers of these groups."""
        return {
            "k": self.k, "where": self.where, "groups": view, "per_document": self.per_document,
            "diversity": self.diversity, "expanded": True, "expand_tokens": self.expand_tokens,
            "recency_half_life_days": self.recency_half_life_days,
        }  # fmt: skip

    def view(self, caller: Caller) -> frozenset[str] | None:
        """The groups that the search is done with.

        Raises:
            InvalidInputError: the caller does not belong to all of `groups`.
        """
        if self.groups is None:
            return caller.groups
        if caller.groups is not None and not self.groups <= caller.groups:
            raise InvalidInputError("A search can be explained for your own groups, or some of them, and no others.")
        return self.groups


@dataclass(frozen=True, slots=True)
class Candidacy:
    """How one passage fared.

    Attributes:
        outcome: `returned`; `expanded`: not returned, and given to the model since it stands near `expands`;
            `duplicate`: it repeats `duplicate_of`; `capped`: its document has all the places that it may have;
            `diversified`: too much like what is returned; `below_k`; `replaced`: its document was read anew or removed
            in this moment; `filtered`: the filter leaves it out; `hidden`: its groups do; `below_candidates`: too far
            down in both lists.
        rank: from 1, of what is returned, then of what is below k; None for what dropped out.
        dense, sparse, fused, rerank, recency: as in Scores. Each `_rank` counts from 1 in the list of that score.
        terms: words of the question that the word index knows of the passage.
    """

    chunk_id: str
    document_id: str
    title: str
    uri: str
    file_id: str | None
    ordinal: int | None
    excerpt: str
    outcome: Outcome
    rank: int | None = None
    score: float | None = None
    dense: float | None = None
    dense_rank: int | None = None
    sparse: float | None = None
    sparse_rank: int | None = None
    fused: float | None = None
    fused_rank: int | None = None
    rerank: float | None = None
    recency: float | None = None
    terms: tuple[str, ...] = ()
    duplicate_of: str | None = None
    expands: str | None = None


@dataclass(frozen=True, slots=True)
class SearchExplanation:
    """A search, and how it came out.

    Attributes:
        terms: the words of the question that the word index looks for; the others are too common.
        k, candidates: passages that are returned, and taken from each list before they are fused.
        per_document: passages of one document that may be returned; 0 is no limit.
        candidacies: what is returned, what expands it, what was passed over for it, what is below k, and what dropped
            out before.
        milliseconds: of each stage of the search itself.
        found: the search.
    """

    question: str
    terms: tuple[str, ...]
    k: int
    candidates: int
    per_document: int
    fusion: str
    candidacies: tuple[Candidacy, ...]
    found: SearchResult

    @property
    def kth_score(self) -> float | None:
        """The score of the last passage that is returned; None when there are fewer than `k`."""
        return self.found.hits[-1].score if len(self.found.hits) == self.k else None

    def as_dict(self, limit: int) -> dict[str, Any]:
        """As JSON types, with the first `limit` candidacies."""
        return {
            "question": self.question, "terms": list(self.terms), "k": self.k, "candidates_per_list": self.candidates,
            "fusion": self.fusion, "milliseconds": dict(self.found.milliseconds),
            "candidate_count": len(self.candidacies),
            "candidates": [candidacy_dict(each) for each in self.candidacies[:limit]],
        }  # fmt: skip


def candidacy_dict(candidacy: Candidacy) -> dict[str, Any]:
    """A candidacy as JSON types."""
    return {**asdict(candidacy), "terms": list(candidacy.terms)}


async def explain_search(engine: Engine, asked: Asked, caller: Caller) -> SearchExplanation:
    """Search as an answer does, and tell of every candidate.

    Raises:
        QuothError: as `Retriever.search` and `Asked.view`.
    """
    view = asked.view(caller)
    found = await engine.retriever.search(asked.names, asked.question, **asked.options(view))
    settings = engine.settings.retrieval
    k = settings.k if asked.k is None else asked.k
    limit = max(settings.candidates, k)
    dropped: list[Candidate] = []
    if asked.where is not None or view != caller.groups:
        wide = await engine.retriever.candidates(asked.names, asked.question, limit, groups=caller.groups)
        seen = {candidate.chunk_id for candidate in found.trace.fused}
        dropped = [candidate for candidate in fuse(wide, settings) if candidate.chunk_id not in seen]
    per_document = settings.per_document if asked.per_document is None else asked.per_document
    candidacies = await in_thread(_tell, engine, asked, found, dropped, view, per_document)
    terms = tuple(terms_of(engine, asked.question))
    return SearchExplanation(asked.question, terms, k, limit, per_document, settings.fusion, tuple(candidacies), found)


def _tell(
    engine: Engine,
    asked: Asked,
    found: SearchResult,
    dropped: Sequence[Candidate],
    view: frozenset[str] | None,
    per_document: int,
) -> list[Candidacy]:
    """All of them, in the order that SearchExplanation promises."""
    ids = [store.id for store in asked.stores]
    words = terms_of(engine, asked.question)
    ranked = {hit.chunk.id for hit in found.trace.ranked}
    rest = [candidate for candidate in found.trace.fused if candidate.chunk_id not in ranked]
    hits = [*found.trace.ranked, *engine.documents.join(ids, rest)]
    places = Places(found.trace.lists, [candidate.chunk_id for candidate in found.trace.fused])
    told = [
        replace(places.candidacy(engine, hit, words, fate.outcome), rank=fate.rank, score=hit.score,
                duplicate_of=fate.duplicate_of, expands=hit.expands)
        for hit, fate in _fates(found, hits, per_document)
    ]  # fmt: skip
    known = {hit.chunk.id for hit in hits}
    told += [places.lost(candidate) for candidate in rest if candidate.chunk_id not in known]
    left = engine.documents.join(ids, dropped)
    groups = engine.library.groups_of({hit.chunk.document_id for hit in left})
    nowhere = Places(CandidateLists((), ()), ())
    for hit in left:
        is_readable = may_read(groups.get(hit.chunk.document_id, ()), view)
        told.append(nowhere.candidacy(engine, hit, words, "filtered" if is_readable else "hidden"))
    return told


@dataclass(frozen=True, slots=True)
class _Fate:
    outcome: Outcome
    rank: int | None = None
    duplicate_of: str | None = None


def _fates(found: SearchResult, hits: Sequence[SearchHit], per_document: int) -> list[tuple[SearchHit, _Fate]]:
    """What became of every candidate that is visible: the returned, the expanded, the passed over, those below k.

    Args:
        hits: the ranked ones of the search, then those that it did not get to.
    """
    taken = Counter(hit.chunk.document_id for hit in found.hits)
    repeats = {copy.chunk.id: id_ for id_, copies in distinct(hits)[1].items() for copy in copies}
    shown = {hit.chunk.id for hit in (*found.hits, *found.expansion)}
    over: list[tuple[SearchHit, _Fate]] = []
    below: list[tuple[SearchHit, _Fate]] = []
    for hit in hits:
        id_ = hit.chunk.id
        if id_ in shown:
            continue
        if id_ in repeats:
            over.append((hit, _Fate("duplicate", duplicate_of=repeats[id_])))
        elif per_document and taken[hit.chunk.document_id] >= per_document:
            over.append((hit, _Fate("capped")))
        elif id_ in found.trace.passed_over:
            over.append((hit, _Fate(found.trace.passed_over[id_])))
        else:
            below.append((hit, _Fate("below_k", len(found.hits) + len(below) + 1)))
    returned = [(hit, _Fate("returned", rank)) for rank, hit in enumerate(found.hits, 1)]
    return [*returned, *((hit, _Fate("expanded")) for hit in found.expansion), *over, *below]


def terms_of(engine: Engine, question: str) -> dict[str, frozenset[int]]:
    """The words of a question that count, and the sparse encoder's terms for each."""
    found = {
        word: frozenset(engine.sparse.encode_query(word).indices) for word in dict.fromkeys(_WORD.findall(question))
    }
    return {word: terms for word, terms in found.items() if terms}


class Places:
    """Where passages stand in each list."""

    def __init__(self, lists: CandidateLists, fused: Iterable[str]) -> None:
        self._dense, self._sparse, self._fused = (
            {chunk_id: rank for rank, chunk_id in enumerate(each, 1)}
            for each in ((c.chunk_id for c in lists.dense), (c.chunk_id for c in lists.sparse), fused)
        )

    def candidacy(
        self, engine: Engine, hit: SearchHit, words: dict[str, frozenset[int]], outcome: Outcome
    ) -> Candidacy:
        """Of a passage that the ledger knows."""
        chunk, scores = hit.chunk, hit.scores
        held = set(engine.sparse.encode_passage(chunk.words_with(hit.title)).indices)
        text = " ".join(chunk.text.split())
        is_placed = chunk.id in self._fused
        return Candidacy(
            chunk_id=chunk.id, document_id=chunk.document_id, title=hit.title, uri=hit.uri, file_id=hit.file_id,
            ordinal=chunk.ordinal, excerpt=text if len(text) <= EXCERPT else f"{text[:EXCERPT]} …", outcome=outcome,
            dense=scores.dense, dense_rank=self._dense.get(chunk.id), sparse=scores.sparse,
            sparse_rank=self._sparse.get(chunk.id), fused=scores.fused if is_placed else None,
            fused_rank=self._fused.get(chunk.id), rerank=scores.rerank, recency=scores.recency,
            terms=tuple(word for word, terms in words.items() if not terms.isdisjoint(held)),
        )  # fmt: skip

    def lost(self, candidate: Candidate) -> Candidacy:
        """Of a passage that the ledger does not show any more."""
        scores, id_ = candidate.scores, candidate.chunk_id
        return Candidacy(
            chunk_id=id_, document_id=candidate.document_id, title="", uri="", file_id=None, ordinal=None, excerpt="",
            outcome="replaced", dense=scores.dense, dense_rank=self._dense.get(id_), sparse=scores.sparse,
            sparse_rank=self._sparse.get(id_), fused=scores.fused, fused_rank=self._fused.get(id_),
        )  # fmt: skip
