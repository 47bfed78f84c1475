"""POST /v1/search/explain over HTTP: limits, scopes of view, and what readers are not told."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.library_server import LibraryServer, serving_library

QUESTION = "Which class are trains booked in?"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibraryServer]:
    with serving_library(tmp_path_factory.mktemp("explain")) as served:
        yield served


def explained(library: LibraryServer, caller: str = "", **body: Any) -> dict[str, Any]:
    answered = library.post("/v1/search/explain", {"question": QUESTION, **body}, caller)
    assert answered.status_code == 200, answered.text
    found: dict[str, Any] = answered.json()
    return found


def test_candidates_are_told_of_with_scores_and_times(library: LibraryServer) -> None:
    found = explained(library, k=1, limit=2)
    assert [each["outcome"] for each in found["candidates"]] == ["returned", "below_k"]
    assert found["candidate_count"] > 2
    assert found["candidates"][0]["terms"] == ["class", "trains", "booked"]
    assert found["milliseconds"]["vectors"] >= 0


def test_a_request_may_cap_documents_and_expand(library: LibraryServer) -> None:
    found = explained(library, k=1, per_document=1, diversity=0.5, expand_tokens=500)
    assert [each["outcome"] for each in found["candidates"]].count("returned") == 1
    assert {"diversify", "expand"} <= set(found["milliseconds"])
    assert "expand" not in explained(library, k=1, expand_tokens=0)["milliseconds"]


def test_filters_are_those_of_a_vector_store(library: LibraryServer) -> None:
    found = explained(library, filters={"type": "eq", "key": "year", "value": 2024}, expected="travel.md")
    assert [each["title"] for each in found["candidates"] if each["outcome"] == "returned"] == ["board"]
    assert found["expected"]["verdict"] == "filtered"


def test_an_admin_may_take_a_readers_view_and_no_reader_anothers(library: LibraryServer) -> None:
    assert explained(library, groups=["staff"], expected="board.txt")["expected"]["verdict"] == "hidden"
    refused = library.post("/v1/search/explain", {"question": QUESTION, "groups": ["board"]}, "staff")
    assert refused.status_code == 400
    found = explained(library, "staff", expected=library.document("board.txt"))
    missing = explained(library, "staff", expected="0" * 8 + "-0000-0000-0000-" + "0" * 12)
    for told in (found, missing):
        told["expected"].pop("expected")
        told["milliseconds"] = {}
    assert found == missing


def test_anothers_store_looks_like_a_missing_one(library: LibraryServer) -> None:
    foreign = library.post("/v1/search/explain", {"question": QUESTION, "stores": ["default"]}, "people")
    missing = library.post("/v1/search/explain", {"question": QUESTION, "stores": ["defaulx"]}, "people")
    assert foreign.status_code == missing.status_code == 404
    assert foreign.text.replace("default", "defaulx") == missing.text


def test_no_file_of_this_machine_is_looked_for(library: LibraryServer) -> None:
    there = explained(library, expected="/etc/hostname")["expected"]
    nowhere = explained(library, expected="/etc/nosuchnm")["expected"]
    assert there["verdict"] == "unknown"
    assert {**there, "expected": ""} == {**nowhere, "expected": ""}


@pytest.mark.parametrize(
    "body",
    [
        {"question": " "}, {"question": "x" * 100_001}, {"k": 0}, {"k": 101}, {"k": "many"}, {"limit": 0},
        {"stores": []}, {"stores": ["default"] * 11}, {"filters": {"type": "and"}}, {"groups": [""]}, {"top_k": 3},
        {"expected": ""}, {"per_document": -1}, {"diversity": 1.1}, {"diversity": -0.1}, {"expand_tokens": -1},
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused(library: LibraryServer, body: dict[str, Any]) -> None:
    assert library.post("/v1/search/explain", {"question": QUESTION, **body}).status_code == 400
