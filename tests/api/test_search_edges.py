"""Searching and asking at their edges over HTTP: a status, and a message that says what to do."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes import ScriptedChatModel
from tests.served import STORES, Served, serving_stores

STORE_SEARCH = "/v1/vector_stores/{store}/search"
NOTHING = {"type": "eq", "key": "year", "value": 1}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = ScriptedChatModel("Trains are booked in second class.")
    stores = {**STORES, "empty": {}, "one": {"word.txt": "trains"}}
    with serving_stores(tmp_path_factory.mktemp("edges"), model, stores) as found:
        yield found


def search(served: Served, body: dict[str, Any], store: str = "default") -> httpx.Response:
    path = STORE_SEARCH.format(store=store)
    content = json.dumps(body)  # escapes what is no text
    return httpx.post(f"{served.url}{path}", content=content, headers={"content-type": "application/json"}, timeout=60)


def ask(served: Served, question: str, store: str = "default") -> httpx.Response:
    body = {"model": f"quoth/{store}", "messages": [{"role": "user", "content": question}]}
    headers = {"content-type": "application/json"}
    return httpx.post(f"{served.url}/v1/chat/completions", content=json.dumps(body), headers=headers, timeout=60)


ASKED = {
    "one letter": "x",
    "stop words": "the of and a",
    "signs": "?!…",
    "emoji": "🚆 🎉",
    "Cyrillic": "Кто бронирует поезда",
    "Japanese": "列車の予約",
    "a NUL byte": "trains\x00class",
    "a very long word": "x" * 9000,
}


@pytest.mark.parametrize("question", ASKED.values(), ids=ASKED)
def test_whatever_text_is_asked_is_answered(served: Served, question: str) -> None:
    found = search(served, {"query": question})
    assert found.status_code == 200, found.text
    assert [each["filename"] for each in found.json()["data"]] == ["travel.txt"]
    answered = ask(served, question)
    assert answered.status_code == 200, answered.text
    assert answered.json()["choices"][0]["finish_reason"] == "stop"


def test_stores_of_nothing_and_of_one_word(served: Served) -> None:
    assert search(served, {"query": "trains"}, "empty").json()["data"] == []
    assert search(served, {"query": ["trains", "flights"]}, "empty").json()["data"] == []
    (only,) = search(served, {"query": "trains", "max_num_results": 50}, "one").json()["data"]
    assert only["content"][0]["text"] == "trains"
    refused = ask(served, "Which class are trains booked in?", "empty").json()
    assert refused["citations"] == []
    assert "second class" not in refused["choices"][0]["message"]["content"]


def test_filters_that_match_nothing_and_everything(served: Served) -> None:
    assert search(served, {"query": "trains", "filters": NOTHING}).json()["data"] == []
    everything = {"type": "ne", "key": "year", "value": 1}
    assert len(search(served, {"query": "trains", "filters": everything}).json()["data"]) == 1


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no query": ({}, 400, "query"),
    "empty": ({"query": ""}, 400, "query"),
    "blank": ({"query": " \n"}, 400, "ask something"),
    "no queries": ({"query": []}, 400, "query"),
    "ten thousand words": ({"query": "trains " * 10_000}, 400, "10000 characters"),
    "half a surrogate pair": ({"query": "trains \ud800 class"}, 400, "query query: Input should be a valid string"),
    "half a pair among several": ({"query": ["trains", "\ud800"]}, 400, "query query: Input should be"),
    "no results": ({"query": "trains", "max_num_results": 0}, 400, "max_num_results"),
    "too many results": ({"query": "trains", "max_num_results": 51}, 400, "max_num_results"),
    "no filter": ({"query": "trains", "filters": {"type": "near", "key": "x", "value": 1}}, 400, "eq, ne"),
}


@pytest.mark.parametrize(("body", "status", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_searched_is_refused(served: Served, body: dict[str, Any], status: int, said: str) -> None:
    for store in ("default", "empty"):
        reply = search(served, body, store)
        assert reply.status_code == status, reply.text
        error = reply.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert said in f"{error['param']} {error['message']}"


def test_questions_that_are_none_or_too_long_or_go_nowhere(served: Served) -> None:
    assert ask(served, "trains " * 1000).status_code == 200
    for question, said in (
        ("", "empty"), (" \n", "empty"), ("x" * 100_001, "100000 characters"), ("trains " * 10_000, "Shorten it"),
        ("trains \ud800 class", "content: Input should be a valid string"),
    ):  # fmt: skip
        reply = ask(served, question)
        assert reply.status_code == 400, reply.text
        assert said in reply.json()["error"]["message"], reply.text
    assert search(served, {"query": "trains"}, "nope").status_code == 404
    missing = ask(served, "trains", "nope")
    assert missing.status_code == 404
    assert "nope" in missing.json()["error"]["message"]
