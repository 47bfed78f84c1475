"""Points in the Qdrant Edge engine on this machine: a client of the worker that owns the data folder.

The API and any number of CLI processes may use one folder at once. A worker that died is started again and the call
repeated, once; every operation may be repeated. Search is exact, and its time grows with the store, until an index is
built: see edge_build.
"""

from __future__ import annotations

import array
import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.backends.vectors import payload, wire
from rag.backends.vectors.conditions import scope, words_of
from rag.backends.vectors.edge_process import START_SECONDS, Workplace, start, stop_worker
from rag.concurrency import in_thread
from rag.documents import Point, SparseVector
from rag.errors import InvalidInputError, StorageError, StorageUnavailableError
from rag.filters import Filter, In
from rag.protocols import CandidateLists

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EdgeChunkStore", "stop_worker"]

UPSERT_POINTS = 256
PAGE_POINTS = 10_000
CONNECTIONS = 32  # of one instance; the worker takes requests one at a time, so that more would only wait there
CONNECT_ATTEMPTS = 5  # a worker may end, idle, between being found and being asked


class EdgeChunkStore:
    """One collection of a data folder, `<data folder>/vectors/<collection>/`, made when it is first used.

    An instance may be used from several event loops, one after the other, and for several calls at once.
    """

    def __init__(
        self,
        data_dir: Path,
        collection: str,
        dimension: int,
        *,
        index_from: int = 0,
        quantised: bool = True,
        idle_seconds: float = 30,
        timeout_seconds: float = 120,
    ) -> None:
        """Nothing is opened or started before the first call.

        Args:
            data_dir: the data folder, made if absent.
            collection: letters, digits, hyphens and underscores.
            dimension: of the dense vectors; another one than the collection has is a StorageError at the first call.
            index_from: how many points are worth an index; it is built beside the running engine. 0 never builds any.
            quantised: whether an index keeps one byte a dimension in memory, and the vectors on disk.
            idle_seconds: how long the worker stays without any client, if this client is the one to start it.
            timeout_seconds: the longest that one operation may take.

        Raises:
            InvalidInputError: the collection's name is none.
        """
        self._place = Workplace.of(data_dir)
        self._collection = payload.check_collection(collection)
        self._dimension = dimension
        self._indexing = index_from, quantised
        self._idle_seconds = idle_seconds
        self._timeout_seconds = timeout_seconds
        self._connections: deque[socket.socket] = deque()
        self._turns: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None
        self._closed = False

    async def upsert(self, store_id: str, points: Sequence[Point]) -> None:
        """Write points. See ChunkStore."""
        checked = payload.check_points(points, self._dimension)
        payloads = [payload.payload_of(store_id, point) for point in checked]
        frames = list(self._frames(checked, payloads))
        for frame in frames:
            await self._send(frame)

    async def flush(self) -> None:
        """Return once everything acknowledged before is on disk. See ChunkStore."""
        await self._call("flush")

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
        query = None if dense is None else payload.check_dense(dense, self._dimension, "The query's vector")
        terms = payload.check_sparse(sparse or SparseVector((), ()), "The query's sparse vector")
        condition = scope(store_id, where, groups)
        if condition is None or not payload.check_limit(limit) or (query is None and not terms.indices):
            return CandidateLists((), ())
        packed = None if query is None else query.tobytes()
        corpus = words_of(store_id, together)
        by_dense, by_sparse = await self._call("search", condition, corpus, packed, *_packed_terms([terms])[1:], limit)
        return payload.candidate_lists(by_dense, by_sparse)

    async def count(self, store_id: str, where: Filter | None = None) -> int:
        """How many points there are. See ChunkStore."""
        condition = scope(store_id, where)
        return 0 if condition is None else int(await self._call("count", condition))

    async def delete(self, store_id: str, where: Filter | None = None) -> None:
        """Delete the points that match. See ChunkStore."""
        condition = scope(store_id, where)
        if condition is not None:
            await self._call("delete", condition)

    async def identities(self, store_id: str, after: str | None, limit: int) -> list[tuple[str, str, str]]:
        """Points in ascending order of chunk id. See ChunkStore."""
        condition = scope(store_id, None)
        found: list[tuple[str, str, str]] = []
        last = None if after is None else payload.check_chunk_id(after)
        while len(found) < limit:
            wanted = min(limit - len(found), PAGE_POINTS)
            page = await self._call("identities", condition, last, wanted)
            found += [(chunk, document, generation) for chunk, document, generation in page]
            if len(page) < wanted:
                break
            last = found[-1][0]
        return found

    async def dense_vectors(self, store_id: str, chunk_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of these points. See ChunkStore."""
        found: dict[str, NDArray[np.float32]] = {}
        for begin in range(0, len(chunk_ids), UPSERT_POINTS):
            some = chunk_ids[begin : begin + UPSERT_POINTS]
            condition = scope(store_id, In("chunk_id", tuple(some)))
            for chunk, raw in await self._call("vectors", condition, len(some)):
                found[chunk] = np.frombuffer(raw, np.float32)
        return found

    async def close(self) -> None:
        """Disconnect; the worker ends by itself once nobody is connected. See ChunkStore."""
        self._closed = True
        self._drop_connections()

    def _frames(self, points: list[Point], payloads: list[dict[str, Any]]) -> list[bytes]:
        frames: list[bytes] = []
        for begin in range(0, len(points), UPSERT_POINTS):
            batch = slice(begin, begin + UPSERT_POINTS)
            frames += self._halved(points[batch], payloads[batch])
        return frames

    def _halved(self, points: list[Point], payloads: list[dict[str, Any]]) -> list[bytes]:
        """One frame, or as many as it takes for each to be short enough."""
        dense = np.stack([point.dense for point in points]).astype(np.float32, copy=False)
        terms = _packed_terms([point.sparse for point in points])
        ids = [point.chunk_id for point in points]
        try:
            return [wire.pack(("upsert", self._collection, ids, payloads, dense.tobytes(), *terms))]
        except wire.FrameError:
            half = len(points) // 2
            if not half:
                raise InvalidInputError(f"Chunk {ids[0]} with its attributes is too large: shorten them.") from None
            return self._halved(points[:half], payloads[:half]) + self._halved(points[half:], payloads[half:])

    async def _call(self, operation: str, *arguments: Any) -> Any:
        return await self._send(wire.pack((operation, self._collection, *arguments)))

    async def _send(self, frame: bytes) -> Any:
        """Send a request once one of the connections is free: as many calls are under way as are kept, at most."""
        loop = asyncio.get_running_loop()
        if self._turns is None or self._turns[0] is not loop:
            self._turns = loop, asyncio.Semaphore(CONNECTIONS)
        async with self._turns[1]:
            return await self._send_now(frame)

    async def _send_now(self, frame: bytes) -> Any:
        """Send a request; when the connection breaks, once more over a new one."""
        broken: Exception | None = None
        for _ in range(2):
            connection = await self._connection()
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    outcome, value = await _exchange(connection, frame)
            except TimeoutError:
                connection.close()
                raise StorageUnavailableError(
                    f"The vector engine took longer than {self._timeout_seconds:g} s: try again when it is less busy."
                ) from None
            except (OSError, EOFError, wire.FrameError) as error:
                connection.close()
                self._drop_connections()  # the others lead to the same dead worker
                broken = error
            except BaseException:
                connection.close()  # its reply is still to come, and would be taken for the next call's
                raise
            else:
                self._keep(connection)
                if outcome == "failed":
                    raise StorageError(f"The vector engine refused: {value}. {self._place.log} has more.")
                return value
        raise StorageUnavailableError(f"The vector engine broke off twice: {broken}. See {self._place.log}.")

    async def _connection(self) -> socket.socket:
        if self._closed:
            raise StorageError("This vector store is closed: open another one.")
        try:
            return self._connections.pop()
        except IndexError:
            return await self._connect()

    def _keep(self, connection: socket.socket) -> None:
        if self._closed:
            connection.close()
        else:
            self._connections.append(connection)

    def _drop_connections(self) -> None:
        while self._connections:
            self._connections.pop().close()

    async def _connect(self) -> socket.socket:
        """Reach the worker of this version, starting it where there is none, and open the collection."""
        try:
            async with asyncio.timeout(self._timeout_seconds + START_SECONDS):
                for _ in range(CONNECT_ATTEMPTS):
                    connection = await self._try_to_connect()
                    if connection is not None:
                        return connection
                    await in_thread(start, self._place.data_dir, self._idle_seconds)
        except TimeoutError:
            pass
        raise StorageUnavailableError(
            f"The vector engine of {self._place.data_dir} does not answer. See {self._place.log}."
        )

    async def _try_to_connect(self) -> socket.socket | None:
        address = await in_thread(self._place.address)
        if address is None:
            return None
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, address)
            _, (protocol, *_) = await _exchange(connection, wire.pack(["hello"]))
            if protocol != wire.PROTOCOL:
                await _exchange(connection, wire.pack(["exit"]))
                await in_thread(stop_worker, self._place.data_dir)
                connection.close()
                return None
            outcome, value = await _exchange(
                connection, wire.pack(("open", self._collection, self._dimension, *self._indexing))
            )
        except (OSError, EOFError, wire.FrameError):
            connection.close()  # there is none, or it ends just now
            return None
        except BaseException:
            connection.close()
            raise
        if outcome == "failed":
            connection.close()
            folder = self._place.folder / self._collection
            raise StorageError(f"{folder} cannot be opened with {self._dimension} dimensions: {value}.")
        return connection


def _packed_terms(vectors: Sequence[SparseVector]) -> tuple[bytes, bytes, bytes]:
    """Lengths, terms and weights, as Shard.upsert takes them."""
    lengths = array.array("I", [len(vector.indices) for vector in vectors])
    indices = array.array("I", chain.from_iterable(vector.indices for vector in vectors))
    values = array.array("f", chain.from_iterable(vector.values for vector in vectors))
    return lengths.tobytes(), indices.tobytes(), values.tobytes()


async def _exchange(connection: socket.socket, frame: bytes) -> Any:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, frame)
    return wire.unpack(await _read(connection, wire.body_length(await _read(connection, wire.HEADER.size))))


async def _read(connection: socket.socket, length: int) -> bytearray:
    loop = asyncio.get_running_loop()
    buffer = bytearray(length)
    view = memoryview(buffer)
    while view:
        count = await loop.sock_recv_into(connection, view)
        if not count:
            raise EOFError("the connection was closed")
        view = view[count:]
    return buffer
