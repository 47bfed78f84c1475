"""Thumbs and comments over HTTP, and the cases that come of them."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.dependencies import Live
from ingest.pipeline import Ingestor
from rag.answering import Answerer
from rag.settings import Settings, load_settings
from tests.fakes import ScriptedChatModel, fake_engine
from tests.live import serving

TEXT = "Trains are booked in second class. Flights need the consent of a manager.\n"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "travel.txt").write_text(TEXT)

    @asynccontextmanager
    async def opening(settings: Settings) -> AsyncIterator[Live]:
        with fake_engine(tmp_path / "data") as engine:
            await Ingestor(engine).run([docs], "default")
            await engine.open_store("other")
            model = ScriptedChatModel("Trains are booked in second class.")
            yield Live(engine, Answerer(engine.retriever, model, settings.chat))

    with serving(create_app(load_settings(), opening)) as url:
        yield url


def answered(url: str, question: str = "Which class are trains booked in?") -> dict[str, Any]:
    body = {"model": "quoth", "messages": [{"role": "user", "content": question}], "conversation": "new"}
    found: dict[str, Any] = httpx.post(f"{url}/v1/chat/completions", json=body).json()
    return found


def rated(url: str, answer_id: str, rating: str, **more: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/feedback", json={"answer_id": answer_id, "rating": rating, **more})


def exported(url: str, query: str = "?export=cases") -> list[dict[str, Any]]:
    reply = httpx.get(f"{url}/v1/feedback{query}")
    assert reply.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in reply.text.splitlines()]


def test_a_rating_is_kept_with_the_trace_and_exported_as_a_case(url: str) -> None:
    answer = answered(url)
    reply = rated(url, answer["answer_id"], "up", comment="just so")
    assert reply.status_code == 200
    given = reply.json()
    assert (given["object"], given["rating"], given["comment"]) == ("feedback", "up", "just so")
    assert given["trace"]["citations"] == answer["citations"]
    (case,) = exported(url)
    assert case["question"] == "Which class are trains booked in?"
    assert case["passages"] == ["Trains are booked in second class."]
    assert (case["answerable"], case["review"], case["comment"]) == (True, "", "just so")
    assert exported(url, "") == [given]
    assert exported(url, "?export=cases&model=quoth/other") == []


def test_rating_again_replaces_the_rating(url: str) -> None:
    answer_id = answered(url)["answer_id"]
    rated(url, answer_id, "up")
    rated(url, answer_id, "down")
    assert [given["rating"] for given in exported(url, "")] == ["down"]
    assert exported(url)[0]["to_review"] is True


def test_feedback_goes_with_its_conversation(url: str) -> None:
    answer = answered(url)
    rated(url, answer["answer_id"], "down")
    httpx.delete(f"{url}/v1/conversations/{answer['conversation']}")
    assert exported(url, "") == []
    assert rated(url, answer["answer_id"], "up").status_code == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"answer_id": "nope"}, 404),
        ({"answer_id": ""}, 400),
        ({"answer_id": "x" * 65}, 400),
        ({"rating": "sideways"}, 400),
        ({"comment": "x" * 4001}, 400),
        ({"stars": 5}, 400),
    ],
)
def test_what_is_no_feedback_is_refused(url: str, change: dict[str, Any], status: int) -> None:
    body = {"answer_id": answered(url)["answer_id"], "rating": "up", **change}
    reply = httpx.post(f"{url}/v1/feedback", json=body)
    assert (reply.status_code, bool(reply.json()["error"]["message"])) == (status, True)
    assert exported(url, "") == []


def test_exports_that_do_not_exist_are_refused(url: str) -> None:
    assert httpx.get(f"{url}/v1/feedback?export=csv").status_code == 400
    assert httpx.get(f"{url}/v1/feedback?model=quoth/nope").json()["error"]["code"] == "model_not_found"
