"""Built-in attributes, filters of chats, and recency over HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.api.vector_store_server import StoreServer, serving_vector_stores, upload

TEXTS = {
    "leave.txt": ({"date": "2020-01-01"}, "Employees get thirty days of annual leave."),
    "leave.md": ({"date": "2024-01-01"}, "Employees get thirty days of yearly leave."),
}
JANUARY_2023 = 1_672_531_200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with serving_vector_stores(tmp_path_factory.mktemp("filters")) as found:
        yield found


@pytest.fixture(scope="module")
def store(server: StoreServer) -> Iterator[str]:
    with server.client() as api:
        yield _filled(api)


def _filled(api: openai.OpenAI) -> str:
    made = api.vector_stores.create(name="Rules").id
    files: list[Any] = [
        {"file_id": upload(api, name, text), "attributes": attributes} for name, (attributes, text) in TEXTS.items()
    ]
    assert api.vector_stores.file_batches.create_and_poll(made, files=files).file_counts.completed == 2
    return made


def names(server: StoreServer, store: str, **body: Any) -> list[str]:
    answer = httpx.post(f"{server.url}/v1/vector_stores/{store}/search", json={"query": "leave", **body})
    assert answer.status_code == 200, answer.text
    return [hit["filename"] for hit in answer.json()["data"]]


def comparison(kind: str, key: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "key": key, "value": value}


def test_a_documents_own_attributes_can_be_asked_for(server: StoreServer, store: str) -> None:
    for kind, key, value, wanted in [
        ("gte", "quoth.date", JANUARY_2023, ["leave.md"]), ("lt", "quoth.date", JANUARY_2023, ["leave.txt"]),
        ("eq", "quoth.type", "text/markdown", ["leave.md"]), ("eq", "quoth.suffix", ".txt", ["leave.txt"]),
        ("eq", "quoth.filename", "leave.md", ["leave.md"]), ("eq", "quoth.folder", "/", []),
        ("eq", "date", "2020-01-01", ["leave.txt"]),
    ]:  # fmt: skip
        assert names(server, store, filters=comparison(kind, key, value)) == wanted, (kind, key)


def test_recency_prefers_the_newer_of_two(server: StoreServer, store: str) -> None:
    recent = {"recency_half_life_days": 100_000}
    assert names(server, store, query="annual leave")[0] == "leave.txt"
    assert names(server, store, query="leave", ranking_options=recent)[0] == "leave.md"
    for bad in (-1, "x"):
        body = {"query": "leave", "ranking_options": {"recency_half_life_days": bad}}
        assert httpx.post(f"{server.url}/v1/vector_stores/{store}/search", json=body).status_code == 400


def test_chats_take_filters(server: StoreServer, store: str) -> None:
    def sources(**body: Any) -> httpx.Response:
        asked = {"model": f"quoth/{store}", "messages": [{"role": "user", "content": "How much leave?"}], **body}
        return httpx.post(f"{server.url}/v1/chat/completions", json=asked, timeout=30)

    nothing = sources(filters=comparison("eq", "quoth.suffix", ".pdf"))
    assert (nothing.status_code, nothing.json()["refused"]) == (200, True)
    assert sources(filters=comparison("eq", "quoth.suffix", ".md"), recency_half_life_days=30).status_code == 200
    bad = sources(filters={"type": "like", "key": "a", "value": "b"})
    assert (bad.status_code, "filters.type" in bad.text) == (400, True)


def test_an_explanation_shows_the_factor(server: StoreServer, store: str) -> None:
    body = {"question": "leave", "stores": [store], "recency_half_life_days": 1}
    answer = httpx.post(f"{server.url}/v1/search/explain", json=body)
    assert answer.status_code == 200, answer.text
    factors = [each["recency"] for each in answer.json()["candidates"]]
    assert factors == [pytest.approx(0.5), pytest.approx(0.5)]
