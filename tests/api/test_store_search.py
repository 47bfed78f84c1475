"""Searching a store through the official client against a live server."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.api.vector_store_server import StoreServer, serving_vector_stores, upload

TEXTS = {
    "leave.txt": ({"year": 2024, "public": True}, "Employees get thirty days of annual leave."),
    "travel.txt": ({"year": 2025, "public": False}, "Trains are booked in second class."),
    "meals.txt": ({"year": 2025}, "Meals on trains are paid by employees."),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with serving_vector_stores(tmp_path_factory.mktemp("search")) as found:
        yield found


@pytest.fixture(scope="module")
def api(server: StoreServer) -> Iterator[openai.OpenAI]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def store(api: openai.OpenAI) -> str:
    made = api.vector_stores.create(name="Rules").id
    files = [
        {"file_id": upload(api, name, text), "attributes": attributes} for name, (attributes, text) in TEXTS.items()
    ]
    assert api.vector_stores.file_batches.create_and_poll(made, files=files).file_counts.completed == 3
    return made


def names(found: Any) -> list[str]:
    return [hit.filename for hit in found]


def search(server: StoreServer, store: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/vector_stores/{store}/search", json=body)


def test_a_page_is_as_openai_types_it_and_says_where_passages_stand(server: StoreServer, store: str) -> None:
    found = search(server, store, {"query": "annual leave", "max_num_results": 1}).json()
    (passage,) = found.pop("data")
    assert found == {
        "object": "vector_store.search_results.page", "search_query": ["annual leave"], "has_more": False,
        "next_page": None,
    }  # fmt: skip
    attributes, text = TEXTS["leave.txt"]
    assert passage["content"] == [{"type": "text", "text": text}]
    assert (passage["filename"], passage["attributes"]) == ("leave.txt", attributes)
    assert (passage["char_start"], passage["char_end"]) == (0, len(text))
    assert 0 < passage["score"] <= 1
    assert passage["file_id"].startswith("file-")
    hits = server.engine.documents.all(server.engine.stores.get(store).id)
    assert passage["document_id"] in [record.id for record in hits]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"type": "eq", "key": "year", "value": 2024}, {"leave.txt"}),
        ({"type": "ne", "key": "public", "value": True}, {"travel.txt", "meals.txt"}),
        ({"type": "gt", "key": "year", "value": 2024}, {"travel.txt", "meals.txt"}),
        ({"type": "nin", "key": "year", "value": [2024, 2026]}, {"travel.txt", "meals.txt"}),
        ({"type": "eq", "key": "quoth.filename", "value": "meals.txt"}, {"meals.txt"}),
        (
            {
                "type": "or",
                "filters": [
                    {"type": "eq", "key": "year", "value": 2024},
                    {
                        "type": "and",
                        "filters": [
                            {"type": "gte", "key": "year", "value": 2025},
                            {"type": "eq", "key": "public", "value": False},
                        ],
                    },
                ],
            },
            {"leave.txt", "travel.txt"},
        ),
    ],
)
def test_filters_choose_by_attributes(api: openai.OpenAI, store: str, filters: Any, wanted: set[str]) -> None:
    assert set(names(api.vector_stores.search(store, query="employees trains leave", filters=filters))) == wanted


def test_several_queries_are_merged_by_the_best_score(api: openai.OpenAI, store: str) -> None:
    both = list(api.vector_stores.search(store, query=["annual leave", "second class"]))
    assert len({hit.to_dict()["chunk_id"] for hit in both}) == len(both) == 3
    single = [list(api.vector_stores.search(store, query=query)) for query in ("annual leave", "second class")]
    best = {
        name: max(hit.score for hits in single for hit in hits if hit.filename == name) for name in TEXTS
    }  # fmt: skip
    assert {hit.filename: hit.score for hit in both} == best
    assert [hit.score for hit in both] == sorted(best.values(), reverse=True)
    assert len(list(api.vector_stores.search(store, query=["annual leave", "second class"], max_num_results=2))) == 2


def test_a_threshold_leaves_out_what_is_below(api: openai.OpenAI, store: str) -> None:
    scores = [hit.score for hit in api.vector_stores.search(store, query="annual leave of employees")]
    middle = scores[1]
    kept = api.vector_stores.search(
        store, query="annual leave of employees", ranking_options={"score_threshold": middle}
    )
    assert [hit.score for hit in kept] == [score for score in scores if score >= middle]
    assert len(scores) > len([score for score in scores if score >= middle]) > 0


def test_weights_shift_between_nearness_and_words(server: StoreServer, store: str) -> None:
    def scores(embedding: float, text: float) -> dict[str, float]:
        hybrid = {"embedding_weight": embedding, "text_weight": text}
        found = search(server, store, {"query": "trains trains meals", "ranking_options": {"hybrid_search": hybrid}})
        return {hit["filename"]: hit["score"] for hit in found.json()["data"]}

    near, words, both = scores(1, 0), scores(0, 5), scores(2, 2)
    assert near != words
    assert both == pytest.approx({name: (near[name] + words[name]) / 2 for name in TEXTS})
    assert both == pytest.approx(scores(1, 1))


def test_a_rewrite_changes_nothing_and_says_so(server: StoreServer, store: str) -> None:
    plain, rewritten = (search(server, store, {"query": "leave", "rewrite_query": wish}) for wish in (False, True))
    assert plain.json() == rewritten.json()
    assert rewritten.json()["search_query"] == ["leave"]


def test_documents_of_folders_have_their_own_ids(server: StoreServer, api: openai.OpenAI) -> None:
    (hit,) = api.vector_stores.search("notes", query="second class")
    (record,) = server.engine.documents.all(server.engine.stores.get("notes").id)
    assert (hit.file_id, hit.filename, hit.attributes) == (record.id, "travel notes.txt", {})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "query"), ({"query": ""}, "query"), ({"query": []}, "query"), ({"query": 5}, "query"),
        ({"query": ["a"] * 17}, "query"), ({"query": "x" * 10_001}, "query"), ({"query": [["a"]]}, "query"),
        ({"query": "   "}, None),
        ({"query": "a", "max_num_results": 0}, "max_num_results"),
        ({"query": "a", "max_num_results": 51}, "max_num_results"),
        ({"query": "a", "max_num_results": "5"}, "max_num_results"),
        ({"query": "a", "max_num_results": 10**30}, "max_num_results"),
        ({"query": "a", "max_num_results": True}, "max_num_results"),
        ({"query": "a", "rewrite_query": "yes"}, "rewrite_query"),
        ({"query": "a", "ranking_options": {"ranker": "mine"}}, "ranking_options"),
        ({"query": "a", "ranking_options": {"score_threshold": 1.5}}, "ranking_options"),
        ({"query": "a", "ranking_options": {"score_threshold": "0.5"}}, "ranking_options"),
        (
            {"query": "a", "ranking_options": {"hybrid_search": {"embedding_weight": 0, "text_weight": 0}}},
            "ranking_options",
        ),
        ({"query": "a", "ranking_options": {"hybrid_search": {"embedding_weight": 1}}}, "ranking_options"),
        ({"query": "a", "filters": {"type": "gt", "key": "k", "value": "5"}}, "filters"),
        ({"query": "a", "filters": {"type": "eq", "key": "k", "value": 10**40}}, "filters"),
        ({"query": "a", "filters": []}, "filters"), ({"query": "a", "where": {}}, "where"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused_by_name(
    server: StoreServer, store: str, body: dict[str, Any], param: str | None
) -> None:
    response = search(server, store, body)
    assert response.status_code == 400
    assert (response.json()["error"]["param"] or "").split(".")[0] == (param or "")


@pytest.mark.parametrize(
    "filters",
    [
        b'{"type": "eq", "key": "k", "value": NaN}', b'{"type": "eq", "key": "k", "value": 1e999}',
        b'{"type": "eq", "key": "k", "value": -Infinity}',
        b'{"type": "eq", "key": "k", "value": 1' + b"0" * 5000 + b"}",
        b'{"type": "eq", "key": "\\ud800", "value": 1}', b'{"type": "eq", "key": "k", "value": "\\udfff"}',
        b'{"type": "and", "filters": [' * 1000 + b'{"type": "eq", "key": "k", "value": 1}' + b"]}" * 1000,
        b"[" * 100_000, b'{"a":' * 100_000,
    ],
    ids=["nan", "1e999", "infinity", "5,000 digits", "half key", "half value", "1,000 deep", "brackets", "braces"],
)  # fmt: skip
def test_hostile_filters_as_raw_bytes(server: StoreServer, store: str, filters: bytes) -> None:
    raw = b'{"query": "a", "filters": ' + filters + b"}"
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{server.url}/v1/vector_stores/{store}/search", content=raw, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
