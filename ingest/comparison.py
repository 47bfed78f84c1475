"""The vector store's points against the ledger's chunks: both in the order of their ids, a page at a time."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ingest.findings import Finding
from rag.concurrency import in_thread
from rag.documents import chunk_id
from rag.errors import StorageError, StorageUnavailableError
from rag.ledger.inspection import Inspection
from rag.protocols import ChunkStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

PAGE = 1000

Identity = tuple[str, str, str]  # chunk, document, generation
Visible = tuple[str, str, str, str]  # the same, and the document's URI


class Comparison:
    """Compares the points and the chunks of one store."""

    def __init__(self, store_id: str, inspection: Inspection, vectors: ChunkStore) -> None:
        self._store_id = store_id
        self._inspection = inspection
        self._vectors = vectors

    async def pairs(self) -> AsyncIterator[tuple[Identity | None, Visible | None]]:
        """Every point and every visible chunk once, together where they have the same id."""
        points, chunks = self._points(), self._chunks()
        point, chunk = await anext(points, None), await anext(chunks, None)
        while point or chunk:
            if point and chunk and point[0] == chunk[0]:
                yield point, chunk
                point, chunk = await anext(points, None), await anext(chunks, None)
            elif point and (chunk is None or point[0] < chunk[0]):
                yield point, None
                point = await anext(points, None)
            else:
                yield None, chunk
                chunk = await anext(chunks, None)

    async def findings(self) -> AsyncIterator[Finding]:
        """Points that should not be there or are not as they should be, and chunks without one.

        Raises:
            StorageUnavailableError: the vector store cannot be reached.
        """
        agreeing: dict[str, str] = {}
        try:
            async for point, chunk in self.pairs():
                if point and chunk and point == chunk[:3]:
                    agreeing[point[0]] = chunk[3]
                    if len(agreeing) >= PAGE:
                        async for finding in self._vectorless(agreeing):
                            yield finding
                        agreeing = {}
                else:
                    yield await self._differing(point, chunk)
            async for finding in self._vectorless(agreeing):
                yield finding
        except StorageUnavailableError:
            raise
        except StorageError as error:
            yield Finding("unreadable", f"The points cannot be listed. {error}")

    async def _differing(self, point: Identity | None, chunk: Visible | None) -> Finding:
        if chunk and point:
            message = f"The point is filed under document {point[1]}, generation {point[2]}, the chunk under others."
            return Finding("misfiled", message, chunk[3], (chunk[0],))
        if chunk:
            return Finding("missing", "The chunk has no point, so that no search finds it.", chunk[3], (chunk[0],))
        assert point  # noqa: S101 - one of the two is there
        live = await in_thread(self._inspection.live, point[1])
        if live is None:
            return Finding("extra", "The point belongs to no document that is there.", "", (point[0],))
        if live[0] != point[2]:
            return Finding("extra", "The point is of a generation that no query sees.", live[1], (point[0],))
        if any(chunk_id(point[1], point[2], ordinal) == point[0] for ordinal in range(live[2] + PAGE)):
            return Finding("extra", "The point's chunk is not in the ledger.", live[1], (point[0],))
        return Finding("duplicated", "The document has this point besides those of its chunks.", live[1], (point[0],))

    async def _vectorless(self, agreeing: dict[str, str]) -> AsyncIterator[Finding]:
        if not agreeing:
            return
        for one in await self._without(list(agreeing)):
            yield Finding("vectorless", "The point has no vector, so that only words find it.", agreeing[one], (one,))

    async def _without(self, ids: list[str]) -> list[str]:
        try:
            vectors = await self._vectors.dense_vectors(self._store_id, ids)
        except StorageUnavailableError:
            raise
        except StorageError:
            # One of them is the reason; asked one by one, the others still answer.
            if len(ids) == 1:
                return ids
            half = len(ids) // 2
            return await self._without(ids[:half]) + await self._without(ids[half:])
        return [one for one in ids if one not in vectors or not _has_direction(vectors[one])]

    async def _points(self) -> AsyncIterator[Identity]:
        last: str | None = None
        while page := await self._vectors.identities(self._store_id, last, PAGE):
            for point in page:
                yield point
            last = page[-1][0]

    async def _chunks(self) -> AsyncIterator[Visible]:
        async for page in pages(self._inspection.visible()):
            for chunk in page:
                # Others cannot be points; the examination of their document names them.
                if _is_canonical(chunk[0]):
                    yield chunk


async def pages(items: Iterator[T], size: int = PAGE) -> AsyncIterator[list[T]]:
    """What a blocking iterator yields, taken from it in a thread."""
    while page := await in_thread(lambda: list(islice(items, size))):
        yield page


def _has_direction(vector: NDArray[np.float32]) -> bool:
    length = float(np.linalg.norm(vector))
    return np.isfinite(length) and length > 0.5  # they are stored with length 1


def _is_canonical(identity: object) -> bool:
    try:
        return str(uuid.UUID(str(identity))) == identity
    except ValueError:
        return False
