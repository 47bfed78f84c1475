"""How the server store meets a server that is busy, away, slow, or holds another embedder's collection."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import SecretStr
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from rag.backends.vectors.qdrant_server import ServerChunkStore, connect
from rag.documents import Point, SparseVector
from rag.errors import StorageError, StorageUnavailableError
from rag.settings import QdrantSettings

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")

BUSY = ResourceExhaustedResponse("too many requests", 0)
AWAY = ResponseHandlingException(httpx.ConnectError("refused"))
BROKEN = UnexpectedResponse(500, "Internal Server Error", b"out of order", httpx.Headers())
POINT = Point("00000000-0000-0000-0000-000000000001", "d", "g", np.ones(4, dtype=np.float32), SparseVector((), ()))


class FlakyClient(AsyncQdrantClient):
    """The local mode behind a server that fails a few counts and may acknowledge writes without finishing them."""

    def __init__(self, failures: list[Exception], write_status: models.UpdateStatus | None = None) -> None:
        super().__init__(":memory:")
        self.failures = failures
        self.write_status = write_status

    async def count(self, *args: Any, **kwargs: Any) -> models.CountResult:
        if self.failures:
            raise self.failures.pop(0)
        return await super().count(*args, **kwargs)

    async def upsert(self, *args: Any, **kwargs: Any) -> models.UpdateResult:
        result = await super().upsert(*args, **kwargs)
        return models.UpdateResult(operation_id=1, status=self.write_status) if self.write_status else result


def count(client: AsyncQdrantClient) -> int:
    async def run() -> int:
        store = ServerChunkStore(client, "chunks", 4)
        try:
            await store.upsert("s", [POINT])
            return await store.count("s")
        finally:
            await store.close()

    return asyncio.run(run())


def test_a_busy_server_is_asked_again() -> None:
    client = FlakyClient([BUSY, AWAY])
    assert count(client) == 1
    assert client.failures == []


def test_a_server_that_stays_away_is_given_up_as_unavailable() -> None:
    client = FlakyClient([AWAY] * 10)
    with pytest.raises(StorageUnavailableError, match="did not answer 4 times: refused"):
        count(client)
    assert len(client.failures) == 6


def test_a_refusal_is_not_repeated() -> None:
    client = FlakyClient([BROKEN, AWAY])
    with pytest.raises(StorageError, match="out of order") as raised:
        count(client)
    assert not raised.value.retryable
    assert len(client.failures) == 1


def test_a_write_that_is_only_acknowledged_is_an_error() -> None:
    with pytest.raises(StorageUnavailableError, match="acknowledged"):
        count(FlakyClient([], models.UpdateStatus.ACKNOWLEDGED))


def test_another_dimension_is_refused() -> None:
    async def run() -> None:
        client = AsyncQdrantClient(":memory:")
        await ServerChunkStore(client, "chunks", 4).count("s")
        other = ServerChunkStore(client, "chunks", 5)
        with pytest.raises(StorageError, match="has 4 dimensions, not 5"):
            await other.count("s")
        await other.close()

    asyncio.run(run())


def test_stores_that_create_one_collection_together_both_work() -> None:
    async def run() -> None:
        client = AsyncQdrantClient(":memory:")
        stores = [ServerChunkStore(client, "chunks", 4) for _ in range(4)]
        await asyncio.gather(*(store.upsert("s", [POINT]) for store in stores))
        assert await stores[0].count("s") == 1
        await stores[0].close()

    asyncio.run(run())


def test_nothing_listening_is_unavailable_over_grpc() -> None:
    async def run() -> None:
        settings = QdrantSettings(url="http://127.0.0.1:9", grpc_port=9, timeout_seconds=1, api_key=None)
        store = ServerChunkStore(connect(settings), "chunks", 4)
        with pytest.raises(StorageUnavailableError, match="did not answer"):
            await store.count("s")
        await store.close()

    asyncio.run(run())


def test_connect_needs_a_url_and_takes_the_key() -> None:
    with pytest.raises(StorageError, match=r"qdrant\.url"):
        connect(QdrantSettings())
    client = connect(QdrantSettings(url="https://qdrant.example:6333", api_key=SecretStr("k")))
    assert client.init_options["api_key"] == "k"
    assert client.init_options["prefer_grpc"] is True
    asyncio.run(client.close())
