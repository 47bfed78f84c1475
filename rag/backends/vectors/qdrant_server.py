"""Points on a Qdrant server or cluster, by its asynchronous client; writes return when they are applied (wait=True).

Only what one server call says of itself is trusted: an update that is not reported as completed is an error. A server
that is overloaded or away is asked again, a few times and with growing pauses; every operation may be repeated.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc  # type: ignore[import-untyped]
import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from rag.backends.vectors import payload
from rag.backends.vectors.attribute_keys import SAMPLE_POINTS, Kinds, key_of, kinds_of, to_index
from rag.backends.vectors.conditions import DOCUMENT, GENERATION, GROUPS, STORE, path_of, scope, words_of
from rag.backends.vectors.ranking import Row, cut, first_ask, next_ask
from rag.backends.vectors.server_filters import compile_filter
from rag.documents import Point, SparseVector
from rag.errors import StorageError, StorageUnavailableError
from rag.filters import Filter, In
from rag.protocols import CandidateLists
from rag.settings import QdrantSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

UPSERT_POINTS = 256
PAGE_POINTS = 1_000
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0

# The local mode, which the tests use, raises ValueError; the gRPC interface raises what grpc raises
VENDOR_ERRORS = (QdrantException, ApiException, grpc.RpcError, ValueError)
BUSY_STATUSES = frozenset({429, 502, 503, 504})
BUSY_CODES = frozenset({
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED,
})  # fmt: skip
IDENTITY = ["document", "generation"]
DENSE_PARAMS = models.SearchParams(
    hnsw_ef=128, quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0)
)


def connect(settings: QdrantSettings) -> AsyncQdrantClient:
    """A client of the server that the settings name, over gRPC. Nothing is sent yet.

    Raises:
        StorageError: no server is configured.
    """
    if settings.url is None:
        raise StorageError("No Qdrant server is configured: set qdrant.url, or leave it out to use the engine here.")
    return AsyncQdrantClient(
        url=settings.url,
        grpc_port=settings.grpc_port,
        prefer_grpc=True,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        timeout=math.ceil(settings.timeout_seconds),
        check_compatibility=False,  # it would ask the server at once, in a thread of its own
    )


class ServerChunkStore:
    """One collection of a server, made when it is first used, with its payload indexes."""

    def __init__(
        self,
        client: AsyncQdrantClient,
        collection: str,
        dimension: int,
        *,
        index_from: int = 20_000,
        quantised: bool = True,
    ) -> None:
        """Nothing is sent before the first call.

        Args:
            client: closed together with this store.
            collection: letters, digits, hyphens and underscores.
            dimension: of the dense vectors; another one than the collection has is a StorageError at the first call.

            index_from: how many points of a segment the server indexes; 0 none. Said when the collection is made.
            quantised: whether an index keeps one byte a dimension in memory, and the vectors on disk. Likewise.

        Raises:
            InvalidInputError: the collection's name is none.
        """
        self._indexing = index_from, quantised
        self._client = client
        self._collection = payload.check_collection(collection)
        self._dimension = dimension
        self._ready = False
        self._indexed: set[str] = set()  # keys of attributes
        self._closed = False

    async def upsert(self, store_id: str, points: Sequence[Point]) -> None:
        """Write points. See ChunkStore."""
        structs = [_struct(store_id, point) for point in payload.check_points(points, self._dimension)]
        await self._index_attributes(kinds_of(each.payload or {} for each in structs))
        for begin in range(0, len(structs), UPSERT_POINTS):
            batch = structs[begin : begin + UPSERT_POINTS]
            _check_completed(
                await self._ask(lambda batch=batch: self._client.upsert(self._collection, batch, wait=True))  # type: ignore[misc]
            )

    async def flush(self) -> None:
        """Nothing to do: every write was acknowledged by the server's log. See ChunkStore."""
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
        """The nearest points by each vector that is given, in one call unless a long tie needs more. See ChunkStore."""
        queries: dict[str, Any] = {}
        if dense is not None:
            queries[payload.DENSE] = payload.check_dense(dense, self._dimension, "The query's vector").tolist()
        if sparse is not None and payload.check_sparse(sparse, "The query's sparse vector").indices:
            queries[payload.SPARSE] = models.SparseVector(indices=list(sparse.indices), values=list(sparse.values))
        condition = scope(store_id, where, groups)
        if condition is None or not payload.check_limit(limit) or not queries:
            return CandidateLists((), ())
        found = await self._nearest(
            queries, compile_filter(condition), limit, compile_filter(words_of(store_id, together))
        )
        return payload.candidate_lists(found.get(payload.DENSE, []), found.get(payload.SPARSE, []))

    async def count(self, store_id: str, where: Filter | None = None) -> int:
        """How many points there are. See ChunkStore."""
        condition = scope(store_id, where)
        if condition is None:
            return 0
        answer = await self._ask(
            lambda: self._client.count(self._collection, count_filter=compile_filter(condition), exact=True)
        )
        return answer.count

    async def delete(self, store_id: str, where: Filter | None = None) -> None:
        """Delete the points that match. See ChunkStore."""
        condition = scope(store_id, where)
        if condition is not None:
            selector = models.FilterSelector(filter=compile_filter(condition))
            _check_completed(await self._ask(lambda: self._client.delete(self._collection, selector, wait=True)))

    async def identities(self, store_id: str, after: str | None, limit: int) -> list[tuple[str, str, str]]:
        """Points in ascending order of chunk id. See ChunkStore."""
        condition = scope(store_id, None)
        assert condition is not None, "a store's wall alone can match"  # noqa: S101
        where = compile_filter(condition)
        found: list[tuple[str, str, str]] = []
        last = None if after is None else payload.check_chunk_id(after)
        while len(found) < limit:
            wanted = min(limit - len(found), PAGE_POINTS)
            page = await self._page(where, last, wanted)
            found += page
            if len(page) < wanted:
                break
            last = page[-1][0]
        return found

    async def dense_vectors(self, store_id: str, chunk_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of these points. See ChunkStore."""
        found: dict[str, NDArray[np.float32]] = {}
        for begin in range(0, len(chunk_ids), UPSERT_POINTS):
            some = tuple(chunk_ids[begin : begin + UPSERT_POINTS])
            condition = scope(store_id, In("chunk_id", some))
            assert condition is not None, "there is an id at least"  # noqa: S101
            where = compile_filter(condition)
            records, _ = await self._ask(
                lambda where=where, some=some: self._client.scroll(  # type: ignore[misc]
                    self._collection, where, limit=len(some), with_payload=False, with_vectors=[payload.DENSE]
                )
            )
            for each in records:
                vectors = cast("dict[str, Any]", each.vector)
                found[str(each.id)] = np.asarray(vectors[payload.DENSE], np.float32)
        return found

    async def close(self) -> None:
        """Close the client. See ChunkStore."""
        if not self._closed:
            self._closed = True
            await self._client.close()

    async def _page(self, where: models.Filter, after: str | None, wanted: int) -> list[tuple[str, str, str]]:
        records, _ = await self._ask(
            lambda: self._client.scroll(
                self._collection,
                scroll_filter=where,
                offset=after,  # included, if it is still there
                limit=wanted + 1,
                with_payload=IDENTITY,
                with_vectors=False,
            )
        )
        page = [(str(each.id), *_identity(each.payload)) for each in records]
        return [each for each in page if each[0] != after][:wanted]

    async def _nearest(
        self, queries: dict[str, Any], where: models.Filter, limit: int, corpus: models.Filter
    ) -> dict[str, list[Row]]:
        # Without a corpus the server counts in deleted points, until its optimizer drops them
        rarity = models.SearchParams(idf=models.IdfCorpusParams(corpus=corpus))
        params = {payload.DENSE: DENSE_PARAMS, payload.SPARSE: rarity}
        found: dict[str, list[Row]] = {}
        asks: dict[str, int] = dict.fromkeys(queries, first_ask(limit))
        while asks:
            requests = [
                models.QueryRequest(
                    query=queries[name],
                    using=name,
                    filter=where,
                    limit=asked,
                    with_payload=IDENTITY,
                    params=params[name],
                )
                for name, asked in asks.items()
            ]
            answers = await self._ask(
                lambda requests=requests: self._client.query_batch_points(self._collection, requests)  # type: ignore[misc]
            )
            again: dict[str, int] = {}
            for (name, asked), answer in zip(asks.items(), answers, strict=True):
                rows: list[Row] = [(str(hit.id), *_identity(hit.payload), hit.score) for hit in answer.points]
                found[name] = cut(rows, limit)
                more = next_ask(rows, limit, asked)
                if more:
                    again[name] = more
            asks = again
        return found

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("This vector store is closed: open another one.")

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        await self._get_ready()
        return await _persist(call)

    async def _get_ready(self) -> None:
        self._check_open()
        if not self._ready:
            await self._prepare()
            self._ready = True

    async def _prepare(self) -> None:
        """Create what is missing. Several processes may do so at once, and one may have died half way."""
        if not await _persist(lambda: self._client.collection_exists(self._collection)):
            try:
                await _persist(self._create)
            except StorageError:
                if not await _persist(lambda: self._client.collection_exists(self._collection)):
                    raise
        found = await _persist(lambda: self._client.get_collection(self._collection))
        vectors = found.config.params.vectors
        dense = vectors.get(payload.DENSE) if isinstance(vectors, dict) else None
        if dense is None or dense.size != self._dimension:
            have = "no dense vectors" if dense is None else f"{dense.size} dimensions"
            raise StorageError(
                f"The collection {self._collection!r} has {have}, not {self._dimension}: it was made for another "
                "embedder. Use the model that it was made with, or another store."
            )
        there = (found.payload_schema or {}).keys()
        for name in (STORE, DOCUMENT, GENERATION, GROUPS):
            if name not in there:
                await self._create_index(name, _keyword(is_tenant=True if name == STORE else None), wait=True)
        self._indexed = {key for path in there if (key := key_of(path)) is not None}
        if not self._indexed:
            await self._create_attribute_indexes(await self._sample())

    async def _sample(self) -> Kinds:
        records, _ = await _persist(lambda: self._client.scroll(self._collection, limit=SAMPLE_POINTS))
        return kinds_of(each.payload or {} for each in records)

    async def _index_attributes(self, kinds: Kinds) -> None:
        """Index keys that are new here, and not known to another process that writes to the collection, either."""
        await self._get_ready()
        if to_index(kinds, self._indexed):
            found = await self._ask(lambda: self._client.get_collection(self._collection))
            self._indexed |= {key for path in found.payload_schema or () if (key := key_of(path)) is not None}
            await self._create_attribute_indexes(kinds)

    async def _create_attribute_indexes(self, kinds: Kinds) -> None:
        """Not waited for: the server indexes what is there beside its other work."""
        for key, kind in to_index(kinds, self._indexed).items():
            number = models.FloatIndexParams(type=models.FloatIndexType.FLOAT, on_disk=True)
            await self._create_index(path_of(key), _keyword(on_disk=True) if kind == "text" else number, wait=False)
            self._indexed.add(key)

    async def _create_index(self, path: str, schema: models.PayloadSchemaParams, *, wait: bool) -> None:
        await _persist(
            lambda: self._client.create_payload_index(self._collection, path, field_schema=schema, wait=wait)
        )

    async def _create(self) -> bool:
        index_from, quantised = self._indexing
        int8 = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        dense = models.VectorParams(
            size=self._dimension, distance=models.Distance.COSINE, on_disk=True if quantised else None
        )
        return await self._client.create_collection(
            self._collection,
            vectors_config={payload.DENSE: dense},
            sparse_vectors_config={payload.SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            hnsw_config=models.HnswConfigDiff(m=16, ef_construct=128),
            quantization_config=models.ScalarQuantization(scalar=int8) if quantised else None,
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=index_from * self._dimension * 4 // 1024),
        )


def _keyword(**options: bool | None) -> models.KeywordIndexParams:
    return models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, **options)


async def _persist(call: Callable[[], Awaitable[T]]) -> T:
    """Await a call to the server, again when it is busy or away, and translate its errors."""
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await call()
        except VENDOR_ERRORS as error:
            if not _is_busy(error):
                raise StorageError(f"The Qdrant server refused: {_text(error)}") from error
            if attempt == ATTEMPTS:
                raise StorageUnavailableError(
                    f"The Qdrant server did not answer {ATTEMPTS} times: {_text(error)}. Check qdrant.url."
                ) from error
            wished = error.retry_after_s if isinstance(error, ResourceExhaustedResponse) else 0
            await asyncio.sleep(min(max(pause, wished), LONGEST_PAUSE_SECONDS))
            pause *= 2
    raise AssertionError("unreachable")


def _is_busy(error: Exception) -> bool:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in BUSY_CODES
    if isinstance(error, UnexpectedResponse):
        return error.status_code in BUSY_STATUSES
    return isinstance(error, (ResourceExhaustedResponse, ResponseHandlingException))


def _text(error: Exception) -> str:
    return (error.details() or "") if isinstance(error, grpc.aio.AioRpcError) else str(error).strip()


def _check_completed(result: models.UpdateResult) -> None:
    if result.status != models.UpdateStatus.COMPLETED:
        raise StorageUnavailableError(
            f"The Qdrant server did not finish a write in time ({result.status.value}): try again when it is less busy."
        )


def _struct(store_id: str, point: Point) -> models.PointStruct:
    vector: dict[str, Any] = {payload.DENSE: point.dense.tolist()}
    if point.sparse.indices:
        vector[payload.SPARSE] = models.SparseVector(
            indices=list(point.sparse.indices), values=list(point.sparse.values)
        )
    return models.PointStruct(id=point.chunk_id, vector=vector, payload=payload.payload_of(store_id, point))


def _identity(fields: dict[str, Any] | None) -> tuple[str, str]:
    if fields is None:
        raise StorageError(
            "The Qdrant server returned a point without its payload: it is not one of this collection's."
        )
    return fields["document"], fields["generation"]
