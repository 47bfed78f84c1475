"""The embedder over HTTP: requests as the server wants them, patience where it helps, and its errors."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from rag.backends.embedders.openai import OpenAIEmbedder, open_openai, retry_after
from rag.errors import UpstreamError, UpstreamRejectedError, UpstreamUnavailableError
from rag.models.resolve import installed
from rag.settings import EmbedderSettings, load_settings
from tests.rag.backends.embedders.hash_embeddings import DIMENSION, EmbeddingServer, embedding_server, hash_embedding

MODELS = load_settings().models_dir
KEY = "sk-secret-of-the-test"


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    if installed("tiktoken/o200k_base", MODELS) is None:
        pytest.skip("tiktoken/o200k_base is not in the models folder: quoth models pull tiktoken/o200k_base")
    with embedding_server() as running:
        yield running


class Waits(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def embed(server: EmbeddingServer, texts: list[str], waits: Waits, replies: Any = (), **settings: Any) -> np.ndarray:
    """Open, let the probe pass, then embed while `replies` come first."""

    async def run() -> np.ndarray:
        chosen = EmbedderSettings(
            model="hash", backend="openai", base_url=server.url, api_key=SecretStr(KEY), timeout_seconds=5, **settings
        )
        embedder: OpenAIEmbedder = await open_openai(chosen, MODELS, waits)
        server.requests.clear()
        server.replies.extend(replies)
        try:
            return await embedder.embed_passages(texts)
        finally:
            await embedder.close()

    return asyncio.run(run())


def test_vectors_are_placed_by_their_index(server: EmbeddingServer) -> None:
    texts = ["one fish", "two fish", "red fish"]
    expected = np.array([hash_embedding(text) for text in texts])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embed(server, texts, Waits()), expected, atol=1e-6)
    assert server.requests == [{"model": "hash", "input": texts, "encoding_format": "float"}]
    assert set(server.authorizations) == {f"Bearer {KEY}"}


def test_many_texts_are_sent_in_order_in_several_requests(server: EmbeddingServer) -> None:
    texts = [f"text {number}" for number in range(150)]
    vectors = embed(server, texts, Waits())
    assert [len(request["input"]) for request in server.requests] == [64, 64, 22]
    assert [text for request in server.requests for text in request["input"]] == texts
    last = np.array(hash_embedding("text 149"))
    np.testing.assert_allclose(vectors[149], last / np.linalg.norm(last), atol=1e-6)


def test_long_and_empty_texts_are_made_acceptable(server: EmbeddingServer) -> None:
    embed(server, ["word " * 5000, "", "half \ud800"], Waits())
    sent = server.requests[0]["input"]
    assert len(sent[0].split()) == 384
    assert sent[1:] == [" ", "half �"]


def test_an_overloaded_server_is_waited_for(server: EmbeddingServer) -> None:
    waits = Waits()
    replies = [(429, {"Retry-After": "7"}, {}), (503, {}, {}), (500, {}, {})]
    assert embed(server, ["fish"], waits, replies).shape == (1, DIMENSION)
    assert len(server.requests) == 4
    assert waits[0] == 7
    assert 0.5 <= waits[1] <= 1
    assert 1 <= waits[2] <= 2


def test_patience_has_an_end(server: EmbeddingServer) -> None:
    waits = Waits()
    with pytest.raises(UpstreamUnavailableError, match="503") as caught:
        embed(server, ["fish"], waits, [(503, {}, {"error": {"message": "loading the model"}})] * 9)
    assert len(server.requests) == 5
    assert len(waits) == 4
    assert "loading the model" in str(caught.value)
    assert caught.value.retryable


def test_a_server_that_asks_for_minutes_is_not_waited_for(server: EmbeddingServer) -> None:
    waits = Waits()
    with pytest.raises(UpstreamUnavailableError, match="429"):
        embed(server, ["fish"], waits, [(429, {"Retry-After": "600"}, {})])
    assert waits == []


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "Incorrect API key"), (404, "no such model"), (400, "too long"), (429, "insufficient_quota")],
)
def test_a_refusal_is_final_and_keeps_the_key_secret(server: EmbeddingServer, status: int, message: str) -> None:
    waits = Waits()
    with pytest.raises(UpstreamRejectedError, match=message) as caught:
        embed(server, ["fish"], waits, [(status, {}, {"error": {"message": message}})])
    assert len(server.requests) == 1
    assert waits == []
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"vectors": [[1.0]]},
        {"data": [{"index": 0, "embedding": [1.0, 2.0]}]},
        {"data": [{"index": 0, "embedding": [float("nan")] * DIMENSION}]},
        {"data": [{"index": 0, "embedding": [0.0] * DIMENSION}]},
        {"data": [{"index": 0, "embedding": ["x"] * DIMENSION}]},
        "nothing",
    ],
)
def test_an_answer_that_is_no_embedding_is_an_error(server: EmbeddingServer, answer: Any) -> None:
    with pytest.raises(UpstreamError):
        embed(server, ["fish"], Waits(), [(200, {}, answer)])


def test_a_server_that_is_not_there_is_unavailable(server: EmbeddingServer) -> None:
    with embedding_server() as gone:
        url = gone.url
    settings = EmbedderSettings(model="hash", backend="openai", base_url=url)
    with pytest.raises(UpstreamUnavailableError):
        asyncio.run(open_openai(settings, MODELS, Waits()))


def test_retry_after_reads_seconds_and_dates() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("2.5", now) == 2.5
    assert retry_after("Thu, 01 Jan 2026 00:00:09 GMT", now) == 9
    assert retry_after("Wed, 31 Dec 2025 00:00:00 GMT", now) == 0
    assert retry_after("soon", now) == retry_after(None, now) == retry_after("-3", now) == 0
