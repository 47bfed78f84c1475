"""Why a question finds a document, or does not: where its passages stand in each list, and what stands before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import regex

from ingest.embedding import words_of
from rag.assembly import Engine
from rag.concurrency import in_thread
from rag.documents import Candidate, Scores, SearchHit
from rag.errors import InvalidInputError
from rag.filters import Eq
from rag.fusion import fuse
from rag.ledger.documents import DocumentRecord, Indexed
from rag.ledger.stores import Store, require_fingerprint
from rag.protocols import CandidateLists

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.documents import SparseVector

RANKED = 10_000  # the longest list that the vector stores give
BEST = 3  # of the document's passages
EXCERPT = 160

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}_]+(?:[.\-][\p{L}\p{M}\p{N}_]+)*")


@dataclass(frozen=True, slots=True)
class Standing:
    """How one passage of the document stands to the question.

    Attributes:
        dense: cosine similarity.
        sparse: BM25 score; None where no word matches.
        fused: 0 to 1; None for one that is no candidate.
        dense_rank: from 1, in the list by cosine; None beyond 10,000.
        sparse_rank: likewise by words.
        fused_rank: among the candidates, as an answer sees them.
        words: those of the question that the passage holds.
    """

    ordinal: int
    excerpt: str
    dense: float | None
    sparse: float | None
    fused: float | None
    dense_rank: int | None
    sparse_rank: int | None
    fused_rank: int | None
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Findability:
    """What a question finds of a document.

    Attributes:
        k: how many passages an answer may quote.
        candidates: how many are taken of each list before they are fused.
        kth_score: the fused score of the last passage that is quoted; None when there are fewer than `k`.
        passages: the document's best, best first.
        sentence: the verdict.
    """

    question: str
    k: int
    candidates: int
    kth_score: float | None
    is_found: bool
    passages: tuple[Standing, ...]
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


async def findability(engine: Engine, store: Store, document: DocumentRecord, question: str) -> Findability:
    """Search as an answer does, and see where a document's passages come in.

    Raises:
        InvalidInputError: the question is empty.
        FingerprintMismatchError: the store was embedded by another embedder.
        StorageError, UpstreamError: a part of the engine failed.
    """
    if not question.strip():
        raise InvalidInputError("The question is empty: ask something.")
    require_fingerprint(store, engine.embedder.fingerprint)
    dense, sparse = await engine.embedder.embed_query(question), engine.sparse.encode_query(question)
    asked = engine.settings.retrieval
    limit = max(asked.candidates, asked.k)
    fused = fuse(await engine.vectors.search(store.id, dense, sparse, limit), asked)
    seen = await in_thread(engine.documents.join, [store.id], fused)
    own = await _own(engine, store, document, dense, sparse, seen)
    ranks = _ranks(await engine.vectors.search(store.id, dense, sparse, RANKED))
    places = {hit.chunk.id: place for place, hit in enumerate(seen, 1)}
    passages = tuple(_standing(engine, document, hit, question, places, ranks) for hit in own)
    kth = seen[asked.k - 1].score if len(seen) >= asked.k else None
    found = bool(passages and passages[0].fused_rank and passages[0].fused_rank <= asked.k)
    sentence = _sentence(passages, asked.k, limit, kth)
    return Findability(question, asked.k, limit, kth, found, passages, sentence)


async def _own(
    engine: Engine, store: Store, document: DocumentRecord, dense: NDArray[np.float32], sparse: SparseVector,
    seen: Sequence[SearchHit],
) -> list[SearchHit]:  # fmt: skip
    """The document's best passages: candidates by their fused score, then others by what they would have."""
    lists = await engine.vectors.search(store.id, dense, sparse, RANKED, Eq("document_id", document.id))
    fused = {hit.chunk.id: hit.scores.fused for hit in seen}
    order = fuse(lists, engine.settings.retrieval)
    order.sort(key=lambda candidate: -(fused.get(candidate.chunk_id) or -1.0))
    chosen = [_with_fused(candidate, fused.get(candidate.chunk_id)) for candidate in order[:BEST]]
    return await in_thread(engine.documents.join, [store.id], chosen)


def _with_fused(candidate: Candidate, fused: float | None) -> Candidate:
    scores = candidate.scores
    return replace(candidate, scores=Scores(dense=scores.dense, sparse=scores.sparse, fused=fused))


def _ranks(lists: CandidateLists) -> tuple[dict[str, int], dict[str, int]]:
    by_dense, by_sparse = (
        {one.chunk_id: rank for rank, one in enumerate(each, 1)} for each in (lists.dense, lists.sparse)
    )
    return by_dense, by_sparse


def _standing(
    engine: Engine, document: DocumentRecord, hit: SearchHit, question: str, places: dict[str, int],
    ranks: tuple[dict[str, int], dict[str, int]],
) -> Standing:  # fmt: skip
    chunk, scores = hit.chunk, hit.scores
    text = " ".join(chunk.text.split())
    passage = words_of(Indexed(document, "", [chunk]), chunk)
    terms = set(engine.sparse.encode_passage(passage).indices)
    asked = dict.fromkeys(_WORD.findall(question))
    matching = tuple(word for word in asked if not terms.isdisjoint(engine.sparse.encode_query(word).indices))
    return Standing(
        ordinal=chunk.ordinal, excerpt=text if len(text) <= EXCERPT else text[:EXCERPT] + " …",
        dense=scores.dense, sparse=scores.sparse, fused=scores.fused,
        dense_rank=ranks[0].get(chunk.id), sparse_rank=ranks[1].get(chunk.id), fused_rank=places.get(chunk.id),
        words=matching,
    )  # fmt: skip


def _sentence(passages: Sequence[Standing], k: int, candidates: int, kth: float | None) -> str:
    if not passages:
        return "None of its passages can be searched: `quoth doctor` says why."
    best = passages[0]
    if best.fused_rank is None:
        return (
            f"It is not found: its best passage is number {best.dense_rank or 'beyond 10,000'} by meaning and "
            f"{best.sparse_rank or 'nowhere'} by words, and only the first {candidates} of each are looked at."
        )
    if best.fused_rank <= k:
        return f"It is found: its best passage is number {best.fused_rank} of the {k} that an answer may quote."
    last = f", whose last has the score {kth:.3f}" if kth is not None else ""
    return (
        f"It is not among the {k} passages that an answer may quote{last}: its best one is number "
        f"{best.fused_rank}, with {best.fused or 0.0:.3f}."
    )
