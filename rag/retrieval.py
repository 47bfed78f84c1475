"""From a question to the passages that may answer it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from rag.concurrency import in_thread
from rag.diversify import Choice, choose, distinct, places_taken, pool_for
from rag.documents import Candidate, Scores, SearchHit
from rag.errors import InvalidInputError, StorageError, StoreExpiredError
from rag.expansion import expand, reach_of
from rag.filters import Filter
from rag.fusion import fuse
from rag.ledger.documents import Documents
from rag.ledger.stores import Store, Stores, require_fingerprint
from rag.protocols import CandidateLists, ChunkStore, Embedder, Reranker, SparseEncoder
from rag.recency import by_recency
from rag.reranking import is_close, rerank
from rag.searching import SearchOptions, SearchResult, Trace, as_asked, check_question
from rag.settings import RetrievalSettings
from rag.telemetry import StageTimer, note_search
from rag.ties import settle

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# To judge more of them changed nothing on twelve sets: docs/retrieval.md.
RERANKED = 10
# What may come to the front because it is new.
RECONSIDERED = 50


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
        settings = as_asked(self._settings, options)
        reranker = self._reranker if options.get("reranked", True) else None
        wanted = options.get("k") or settings.k
        check_question(question, options.get("k", wanted))
        found = [await self._open(name) for name in _names(store)]
        ids = [each.id for each in found]
        note_search(ids)
        timer = StageTimer()
        limit = max(settings.candidates, wanted)
        lists = await self._look(found, question, limit, settings, options.get("where"), options.get("groups"), timer)
        with timer.stage("fuse"):
            fused = fuse(lists, settings)
        with timer.stage("join"):
            reconsidered = RECONSIDERED if settings.recency_half_life_days else RERANKED if reranker else 0
            pool = max(pool_for(wanted, settings.diversity), reconsidered)
            hits, copies = distinct(await in_thread(self._join, ids, fused, pool, settings.per_document))
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
        trace = Trace(lists, fused, hits, choice.passed_over)
        return SearchResult(question, kept, timer.milliseconds, trace, expansion, copies)

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
        check_question(question, limit)
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
