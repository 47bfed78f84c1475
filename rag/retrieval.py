"""From a question to the passages that may answer it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

from rag.concurrency import in_thread
from rag.documents import Candidate, SearchHit
from rag.errors import InvalidInputError, StorageError, StoreExpiredError
from rag.filters import Filter
from rag.fusion import distribution_based, normalised_sum, reciprocal_rank
from rag.ledger.documents import Documents
from rag.ledger.stores import Store, Stores, require_fingerprint
from rag.protocols import CandidateLists, ChunkStore, Embedder, Reranker, SparseEncoder
from rag.reranking import is_close, rerank
from rag.settings import RetrievalSettings
from rag.telemetry import StageTimer, note_search

logger = logging.getLogger(__name__)

MAX_QUESTION_CHARACTERS = 100_000
RERANKED = 50  # more than the time is enough for, as a rule
_NO_LISTS = CandidateLists((), ())


@dataclass(frozen=True, slots=True)
class Trace:
    """What a search went through: both lists, their fusion, and those joined with the ledger in their final order."""

    lists: CandidateLists = _NO_LISTS
    fused: Sequence[Candidate] = ()
    ranked: Sequence[SearchHit] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first, and the milliseconds that each stage took."""

    question: str
    hits: tuple[SearchHit, ...]
    milliseconds: Mapping[str, float]
    trace: Trace = Trace()


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
    """

    k: int | None
    where: Filter | None
    groups: frozenset[str] | None
    dense_weight: float | None
    least_score: float | None
    reranked: bool


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
            InvalidInputError: the question is empty or too long, `k` is below 1, or no store is named.
            StoreNotFoundError: there is no such store.
            StoreExpiredError: its time is over.
            FingerprintMismatchError: the store was embedded by another embedder.
            StorageError, UpstreamError: a part of the engine failed.
        """
        settings, reranker = self._settings, self._reranker if options.get("reranked", True) else None
        if (weight := options.get("dense_weight")) is not None:
            settings = settings.model_copy(update={"fusion": "sum", "dense_weight": weight})
        wanted = options.get("k") or settings.k
        _check(question, options.get("k", wanted))
        where, groups = options.get("where"), options.get("groups")
        found = [await self._open(name) for name in _names(store)]
        note_search([each.id for each in found])
        timer = StageTimer()
        lists = await self._look(found, question, max(settings.candidates, wanted), settings, where, groups, timer)
        with timer.stage("fuse"):
            fused = fuse(lists, settings)
        with timer.stage("join"):
            hits = await in_thread(
                self._join, [each.id for each in found], fused, max(wanted, RERANKED) if reranker else wanted
            )
        if reranker and (settings.rerank == "on" or is_close(hits, wanted)):
            with timer.stage("rerank"):
                hits = await self._rerank(reranker, question, hits)
        trace = Trace(lists, fused, hits)
        least = options.get("least_score") or 0.0
        return SearchResult(
            question, tuple(hit for hit in hits[:wanted] if hit.score >= least), timer.milliseconds, trace
        )

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

    def _join(self, store_ids: Sequence[str], fused: Sequence[Candidate], wanted: int) -> list[SearchHit]:
        """The first `wanted` candidates that are visible: one of a generation that is being replaced drops out."""
        hits: list[SearchHit] = []
        start = 0
        while len(hits) < wanted and start < len(fused):
            end = start + wanted - len(hits)
            hits += self._documents.join(store_ids, fused[start:end])
            start = end
        return hits

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
    return normalised_sum(lists.dense, lists.sparse, settings.dense_weight)


def _names(store: str | Sequence[str]) -> list[str]:
    names = [store] if isinstance(store, str) else list(dict.fromkeys(store))
    if not names:
        raise InvalidInputError("No store is named: name at least one to search in.")
    return names


def _together(found: Sequence[CandidateLists], limit: int) -> CandidateLists:
    """The best of several stores; they share a collection, so that their scores compare."""
    if len(found) == 1:
        return found[0]
    dense = sorted((c for lists in found for c in lists.dense), key=lambda c: (-(c.scores.dense or 0.0), c.chunk_id))
    words = sorted((c for lists in found for c in lists.sparse), key=lambda c: (-(c.scores.sparse or 0.0), c.chunk_id))
    return CandidateLists(tuple(dense[:limit]), tuple(words[:limit]))


def _check(question: str, k: int | None) -> None:
    if not question.strip():
        raise InvalidInputError("The question is empty: ask something.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InvalidInputError(f"The question has {len(question)} characters; the limit is {MAX_QUESTION_CHARACTERS}.")
    if k is not None and k < 1:
        raise InvalidInputError(f"k must be at least 1, not {k}.")
