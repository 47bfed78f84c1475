"""Points in this process's memory, searched exactly: for tests, and the yardstick of the other backends."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.backends.vectors import payload
from rag.backends.vectors.conditions import ATTRIBUTES, CHUNK, Condition, matches, scope, words_of
from rag.backends.vectors.ranking import cut
from rag.documents import Point, SparseVector
from rag.errors import StorageError
from rag.filters import Filter, In
from rag.protocols import CandidateLists

if TYPE_CHECKING:
    from numpy.typing import NDArray

Row = tuple[str, str, str, float]


@dataclass(frozen=True, slots=True)
class _Stored:
    point: Point
    direction: NDArray[np.float32]
    weights: dict[int, float]
    values: dict[str, str | int | float]  # by payload path


class MemoryChunkStore:
    """One collection in memory. Nothing is durable: `flush` has nothing to do, and `close` forgets everything."""

    def __init__(self, dimension: int) -> None:
        """An empty collection for dense vectors of this many dimensions."""
        self._dimension = dimension
        self._points: dict[str, _Stored] = {}
        self._closed = False

    async def upsert(self, store_id: str, points: Sequence[Point]) -> None:
        """Write points. See ChunkStore."""
        self._check_open()
        stored = [_stored(store_id, point) for point in payload.check_points(points, self._dimension)]
        self._points.update({each.point.chunk_id: each for each in stored})

    async def flush(self) -> None:
        """Nothing to do. See ChunkStore."""
        self._check_open()

    async def search(
        self,
        store_id: str,
        dense: NDArray[np.float32] | None,
        sparse: SparseVector | None,
        limit: int,
        where: Filter | None = None,
        groups: frozenset[str] | None = None,
        together: Sequence[str] = (),
    ) -> CandidateLists:
        """The nearest points by each vector that is given. See ChunkStore."""
        self._check_open()
        query = None if dense is None else payload.check_dense(dense, self._dimension, "The query's vector")
        terms = payload.check_sparse(sparse or SparseVector((), ()), "The query's sparse vector")
        condition = scope(store_id, where, groups)
        if not payload.check_limit(limit):
            return CandidateLists((), ())
        found = self._matching(condition)
        by_dense = [] if query is None else cut(_by_cosine(found, query), limit)
        by_sparse = cut(_by_words(found, self._idf(terms, words_of(store_id, together))), limit)
        return payload.candidate_lists(by_dense, by_sparse)

    async def count(self, store_id: str, where: Filter | None = None) -> int:
        """How many points there are. See ChunkStore."""
        self._check_open()
        return len(self._matching(scope(store_id, where)))

    async def delete(self, store_id: str, where: Filter | None = None) -> None:
        """Delete the points that match. See ChunkStore."""
        self._check_open()
        for each in self._matching(scope(store_id, where)):
            del self._points[each.point.chunk_id]

    async def identities(self, store_id: str, after: str | None, limit: int) -> list[tuple[str, str, str]]:
        """Points in ascending order of chunk id. See ChunkStore."""
        self._check_open()
        last = "" if after is None else payload.check_chunk_id(after)
        rows = sorted(_identity(each) for each in self._matching(scope(store_id, None)))
        return [row for row in rows if row[0] > last][:limit]

    async def dense_vectors(self, store_id: str, chunk_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of these points. See ChunkStore."""
        self._check_open()
        found = self._matching(scope(store_id, In("chunk_id", tuple(chunk_ids))))
        return {each.point.chunk_id: each.direction for each in found}

    async def close(self) -> None:
        """Forget everything. See ChunkStore."""
        self._closed = True
        self._points.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("This vector store is closed: open another one.")

    def _matching(self, condition: Condition | None) -> list[_Stored]:
        if condition is None:
            return []
        return [each for each in self._points.values() if matches(condition, each.values.get)]

    def _idf(self, query: SparseVector, corpus: Condition) -> dict[int, float]:
        """The query's weights times ln(1 + (N - n + 0.5) / (n + 0.5)), as Qdrant's modifier computes it.

        N counts the points of the corpus that have a sparse vector, n those among them that hold the term.
        """
        counted = [each for each in self._matching(corpus) if each.weights]
        total = len(counted)
        holders = Counter(term for each in counted for term in query.indices if term in each.weights)
        return {
            term: weight * math.log(1 + (total - holders[term] + 0.5) / (holders[term] + 0.5))
            for term, weight in zip(query.indices, query.values, strict=True)
        }


def _stored(store_id: str, point: Point) -> _Stored:
    fields: dict[str, Any] = payload.payload_of(store_id, point)
    attributes = fields.pop(ATTRIBUTES)
    # a key that names a field of the record too is shadowed in filters, so its path is built as the engines build it
    values: dict[str, Any] = {**{f'{ATTRIBUTES}."{key}"': value for key, value in attributes.items()}, **fields}
    values[CHUNK] = point.chunk_id
    norm = float(np.linalg.norm(point.dense)) or 1.0
    weights = dict(zip(point.sparse.indices, point.sparse.values, strict=True))
    return _Stored(point, (point.dense / norm).astype(np.float32), weights, values)


def _identity(stored: _Stored) -> tuple[str, str, str]:
    return stored.point.chunk_id, stored.point.document_id, stored.point.generation


def _by_cosine(found: list[_Stored], query: NDArray[np.float32]) -> list[Row]:
    if not found:
        return []
    norm = float(np.linalg.norm(query)) or 1.0
    # einsum adds each row up in the same order, wherever it stands, so that equal vectors get equal scores
    scores = np.einsum("ij,j->i", np.stack([each.direction for each in found]), query / norm)
    return [(*_identity(each), float(score)) for each, score in zip(found, scores, strict=True)]


def _by_words(found: list[_Stored], query: dict[int, float]) -> list[Row]:
    rows: list[Row] = []
    for each in found:
        shared = [term for term in query if term in each.weights]
        if shared:
            rows.append((*_identity(each), math.fsum(query[term] * each.weights[term] for term in shared)))
    return rows
