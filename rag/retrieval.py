"""From a question to the passages that may answer it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypedDict, Unpack

from rag.concurrency import in_thread
from rag.diversify import Choice, PassedOver, check_choice, choose, distinct, places_taken, pool_for
from rag.documents import Candidate, Scores, SearchHit
from rag.errors import InvalidInputError, StorageError, StoreExpiredError
from rag.expansion import expand, in_reading_order, reach_of
from rag.filters import Filter
from rag.fusion import adaptive_sum, distribution_based, normalised_sum, reciprocal_rank
from rag.ledger.documents import Documents
from rag.ledger.stores import Store, Stores, require_fingerprint
from rag.protocols import CandidateLists, ChunkStore, Embedder, Reranker, SparseEncoder
from rag.recency import by_recency, check_half_life
from rag.reranking import is_close, rerank
from rag.settings import RetrievalSettings
from rag.telemetry import StageTimer, note_search
from rag.ties import settle

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

MAX_QUESTION_CHARACTERS = 100_000
RERANKED = 50  # more than the time is enough for, as a rule
_NO_LISTS = CandidateLists((), ())
_PER_SEARCH = ("per_document", "diversity", "expand_tokens", "recency_half_life_days")


@dataclass(frozen=True, slots=True)
class Trace:
    """What a search went through.

    Attributes:
        lists: both.
        fused: their fusion.
        ranked: those of it that were joined with the ledger, each wording once, by their final scores.
        repeats: chunk id of what was left out for that -> that of the ranked one in the same words.
        passed_over: why ranked ones got no place, although others below them did, or places were left.
    """

    lists: CandidateLists = _NO_LISTS
    fused: Sequence[Candidate] = ()
    ranked: Sequence[SearchHit] = ()
    repeats: Mapping[str, str] = field(default_factory=dict)
    passed_over: Mapping[str, PassedOver] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first, and the milliseconds that each stage took.

    `expansion` is what stands around them, where that was asked for; each names its hit in `expands`.
    """

    question: str
    hits: tuple[SearchHit, ...]
    milliseconds: Mapping[str, float]
    trace: Trace = Trace()
    expansion: tuple[SearchHit, ...] = ()

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


class Retriever:
    """Finds passages by cosine similarity, by words, or by both with the two lists fused."""

    def __init__(
        self,
        stores: Stores,
        documents: Documents,
        vectors: ChunkStore,
        embedder: Embedder,
        sparse: SparseEncoder,
        settings: RetrievalSettings,
        reranker: Reranker | None = None,
    ) -> None:
        """Args: `reranker` is there unless `settings.rerank` is off."""
        self._stores = stores
        self._documents = documents
        self._vectors = vectors
        self._embedder = embedder
        self._sparse = sparse
        self._settings = settings
        self._reranker = reranker

    async def search(self, store: str | Sequence[str], question: str, **options: Unpack[SearchOptions]) -> SearchResult:
        """Find the passages of a store, or of several together, that answer a question best.

        Args:
            store: the store's name, or the names of at least one.
            options: see SearchOptions.

        Raises:
            InvalidInputError: the question is empty or too long, an option is out of its bounds, or no store is named.
            StoreNotFoundError: there is no such store.
            StoreExpiredError: its time is over.
            FingerprintMismatchError: the store was embedded by another embedder.
            StorageError, UpstreamError: a part of the engine failed.
        """
        settings, reranker = (
            _as_asked(self._settings, options),
            self._reranker if options.get("reranked", True) else None,
        )
        wanted = options.get("k") or settings.k
        _check(question, options.get("k", wanted))
        found = [await self._open(name) for name in _names(store)]
        ids = [each.id for each in found]
        note_search(ids)
        timer = StageTimer()
        lists = await self._look(
            found,
            question,
            max(settings.candidates, wanted),
            settings,
            options.get("where"),
            options.get("groups"),
            timer,
        )
        with timer.stage("fuse"):
            fused = fuse(lists, settings)
        with timer.stage("join"):
            is_judged = bool(reranker or settings.recency_half_life_days)
            pool = max(pool_for(wanted, settings.diversity), RERANKED if is_judged else 0)
            hits, repeats = distinct(await in_thread(self._join, ids, fused, pool, settings.per_document))
        if reranker and (settings.rerank == "on" or is_close(hits, wanted)):
            with timer.stage("rerank"):
                hits = await self._rerank(reranker, question, hits)
        if settings.recency_half_life_days:
            with timer.stage("recency"):
                hits = by_recency(hits, settings.recency_half_life_days, time.time())
        with timer.stage("diversify"):
            choice = await self._choose(hits, wanted, settings)
        least = options.get("least_score") or 0.0
        kept = tuple(hit for hit in choice.hits if hit.score >= least)
        expansion: tuple[SearchHit, ...] = ()
        if options.get("expanded") and settings.expand_tokens:
            with timer.stage("expand"):
                expansion = await in_thread(self._expand, ids, kept, fused, settings.expand_tokens)
        trace = Trace(lists, fused, hits, repeats, choice.passed_over)
        return SearchResult(question, kept, timer.milliseconds, trace, expansion)

    async def candidates(
        self,
        store: str | Sequence[str],
        question: str,
        limit: int,
        *,
        where: Filter | None = None,
        groups: frozenset[str] | None = None,
    ) -> CandidateLists:
        """The first `limit` of both lists, as `search` would fuse them. Raises as `search`."""
        _check(question, limit)
        found = [await self._open(name) for name in _names(store)]
        return await self._look(found, question, limit, self._settings, where, groups, StageTimer())

    async def _look(
        self,
        found: Sequence[Store],
        question: str,
        limit: int,
        settings: RetrievalSettings,
        where: Filter | None,
        groups: frozenset[str] | None,
        timer: StageTimer,
    ) -> CandidateLists:
        with timer.stage("embed"):
            dense = None if settings.fusion == "sparse" else await self._embedder.embed_query(question)
        with timer.stage("vectors"):
            words = None if settings.fusion == "dense" else self._sparse.encode_query(question)
            ids = [each.id for each in found]
            return _together(
                [await self._vectors.search(id_, dense, words, limit, where, groups, ids) for id_ in ids], limit
            )

    async def _rerank(self, reranker: Reranker, question: str, hits: list[SearchHit]) -> list[SearchHit]:
        passages = [hit.chunk.embedded_text for hit in hits[:RERANKED]]
        judged = await reranker.score(question, passages, self._settings.rerank_budget_ms)
        return rerank(hits, judged, self._settings.rerank_weight)

    def _join(
        self, store_ids: Sequence[str], fused: Sequence[Candidate], wanted: int, per_document: int
    ) -> list[SearchHit]:
        """The first candidates that are visible and fill the places; one of a generation that is replaced drops out."""
        hits: list[SearchHit] = []
        start = 0
        while start < len(fused) and (missing := wanted - places_taken(hits, per_document)) > 0:
            hits += self._documents.join(store_ids, fused[start : start + missing])
            start += missing
        return hits

    async def _choose(self, hits: Sequence[SearchHit], wanted: int, settings: RetrievalSettings) -> Choice:
        vectors: dict[str, NDArray[np.float32]] = {}
        if settings.diversity:
            for store_id in sorted({hit.store_id for hit in hits}):
                chunk_ids = [hit.chunk.id for hit in hits if hit.store_id == store_id]
                vectors |= await self._vectors.dense_vectors(store_id, chunk_ids)
        return choose(
            hits, wanted, per_document=settings.per_document, diversity=settings.diversity, vectors=vectors
        )  # fmt: skip

    def _expand(
        self, store_ids: Sequence[str], hits: Sequence[SearchHit], fused: Sequence[Candidate], budget_tokens: int
    ) -> tuple[SearchHit, ...]:
        """Chunks of one generation have their document's attributes and groups, so that these may be read as well."""
        outlines = self._documents.outlines([hit.chunk for hit in hits], reach_of(budget_tokens))
        return expand(
            hits, outlines, budget_tokens,
            count=self._embedder.tokenizer.count,
            join=lambda candidates: self._documents.join(store_ids, candidates),
            scores={candidate.chunk_id: candidate.scores for candidate in fused},
        )  # fmt: skip

    async def _open(self, name: str) -> Store:
        store = await in_thread(self._use, name)
        require_fingerprint(store, self._embedder.fingerprint)
        return store

    def _use(self, name: str) -> Store:
        store, now = self._stores.get(name), time.time()
        if store.expires_days is not None and store.has_expired(now):
            raise StoreExpiredError(store.public_id, store.expires_days)
        try:
            self._stores.touch(store, now)
        except StorageError as error:  # a full disk does not keep anybody from searching
            logger.warning("that store %s is in use could not be noted: %s", store.id, error)
        return store


def fuse(lists: CandidateLists, settings: RetrievalSettings) -> list[Candidate]:
    """One ranking of the two lists, by the configured method; of one list its own order."""
    match settings.fusion:
        case "rrf":
            return reciprocal_rank(lists.dense, lists.sparse)
        case "dbsf":
            return distribution_based(lists.dense, lists.sparse)
        case "dense":
            return normalised_sum(lists.dense, (), 1)
        case "sparse":
            return normalised_sum((), lists.sparse, 0)
        case "sum":
            return normalised_sum(lists.dense, lists.sparse, settings.dense_weight)
    return adaptive_sum(lists.dense, lists.sparse, settings.dense_weight)


def _as_asked(settings: RetrievalSettings, options: SearchOptions) -> RetrievalSettings:
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


def _names(store: str | Sequence[str]) -> list[str]:
    names = [store] if isinstance(store, str) else list(dict.fromkeys(store))
    if not names:
        raise InvalidInputError("No store is named: name at least one to search in.")
    return names


def _together(found: Sequence[CandidateLists], limit: int) -> CandidateLists:
    """The best of several stores; they share a collection, so that their scores compare."""
    if len(found) == 1:
        return found[0]
    dense = settle(((c.scores.dense or 0.0, c.chunk_id, c) for lists in found for c in lists.dense), limit)
    words = settle(((c.scores.sparse or 0.0, c.chunk_id, c) for lists in found for c in lists.sparse), limit)
    return CandidateLists(
        tuple(replace(each, scores=Scores(dense=score)) for score, each in dense),
        tuple(replace(each, scores=Scores(sparse=score)) for score, each in words),
    )


def _check(question: str, k: int | None) -> None:
    if not question.strip():
        raise InvalidInputError("The question is empty: ask something.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InvalidInputError(f"The question has {len(question)} characters; the limit is {MAX_QUESTION_CHARACTERS}.")
    if k is not None and k < 1:
        raise InvalidInputError(f"k must be at least 1, not {k}.")
