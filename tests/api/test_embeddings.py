"""POST /v1/embeddings, spoken by the official client against a live server."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.fakes import DIMENSION, BagOfWordsEmbedder, ScriptedChatModel
from tests.served import Served, serving_stores

JSON = {"content-type": "application/json"}
MODEL = "bag-of-words"
TEXTS = ["Trains are booked in second class.", "Flights need consent."]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving_stores(tmp_path_factory.mktemp("served"), ScriptedChatModel(), {}) as served:
        yield served


def embed(served: Served, **body: Any) -> httpx.Response:
    return httpx.post(f"{served.url}/v1/embeddings", json={"model": MODEL, "input": TEXTS, **body})


def test_the_official_client_gets_the_vectors_of_the_embedder(served: Served) -> None:
    expected = [BagOfWordsEmbedder()._embed(text) for text in TEXTS]
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none") as api:
        packed = api.embeddings.create(model=MODEL, input=TEXTS)  # the client asks for base64
        plain = api.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float", dimensions=DIMENSION)
        one = api.embeddings.create(model=MODEL, input=TEXTS[1])
    for made in (packed, plain):
        assert [each.index for each in made.data] == [0, 1]
        np.testing.assert_allclose([each.embedding for each in made.data], expected, rtol=1e-6)
        assert made.model == MODEL
        assert made.usage.prompt_tokens == made.usage.total_tokens == 7 + 4
    np.testing.assert_allclose(one.data[0].embedding, expected[1], rtol=1e-6)


def test_base64_is_little_endian_float32(served: Served) -> None:
    (first, _) = embed(served, encoding_format="base64").json()["data"]
    content = base64.b64decode(first["embedding"])
    assert len(content) == 4 * DIMENSION
    np.testing.assert_allclose(np.frombuffer(content, "<f4"), BagOfWordsEmbedder()._embed(TEXTS[0]), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"model": "text-embedding-3-small"}, 404, "no embedding model 'text-embedding-3-small' here"),
        ({"model": "\ud800"}, 404, "no embedding model"),
        ({"input": []}, 400, "at least 1 item"),
        ({"input": ""}, 400, "at least 1 character"),
        ({"input": ["x", ""]}, 400, "at least 1 character"),
        ({"input": ["x"] * 2049}, 400, "at most 2048 items"),
        ({"input": [1, 2]}, 400, "send text"),
        ({"input": [[1, 2], [3]]}, 400, "send text"),
        ({"input": {"a": 1}}, 400, "input"),
        ({"input": ["short", "word " * 257]}, 400, "Input 1 has 257 tokens; bag-of-words reads 256 at once"),
        ({"input": ["w " * 250] * 1201}, 400, "have 300250 tokens together"),
        ({"dimensions": 32}, 400, "has 64 dimensions, not 32"),
        ({"encoding_format": "int8"}, 400, "encoding_format"),
        ({"input_type": "document"}, 400, "input_type"),
        ({"truncate": True}, 400, "truncate is not supported"),
    ],
)
def test_what_cannot_be_embedded_is_refused(served: Served, change: dict[str, Any], status: int, message: str) -> None:
    content = json.dumps({"model": MODEL, "input": TEXTS, **change})
    with httpx.Client(timeout=30) as http:
        reply = http.post(f"{served.url}/v1/embeddings", content=content, headers=JSON)
    assert reply.status_code == status
    assert message in reply.json()["error"]["message"]
    assert reply.json()["error"]["type"] == "invalid_request_error"


class TwoPrefixes(BagOfWordsEmbedder):
    """Tells questions from passages."""

    async def embed_query(self, text: str) -> Any:
        return self._embed(f"question {text}")


def test_questions_are_embedded_as_questions(tmp_path: Path) -> None:
    with serving_stores(tmp_path, ScriptedChatModel(), {}, embedder=TwoPrefixes()) as served:
        (passage,) = embed(served, input="class", encoding_format="float").json()["data"]
        (query,) = embed(served, input="class", input_type="query").json()["data"]
    np.testing.assert_allclose(passage["embedding"], BagOfWordsEmbedder()._embed("class"), rtol=1e-6)
    np.testing.assert_allclose(query["embedding"], BagOfWordsEmbedder()._embed("question class"), rtol=1e-6)
