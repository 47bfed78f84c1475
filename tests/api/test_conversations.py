"""Conversations over HTTP, spoken by the official client: kept on request, listed, gone on with, deleted."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from api.app import create_app
from api.dependencies import Live
from ingest.pipeline import Ingestor
from rag.answering import Answerer
from rag.errors import UpstreamRejectedError, UpstreamUnavailableError
from rag.protocols import ChatModel, ModelDelta, Prompt, Sampling
from rag.settings import Settings, load_settings
from tests.fakes import ScriptedChatModel, fake_engine
from tests.live import serving

TEXT = "Trains are booked in second class. Flights need the consent of a manager.\n"
ASKED = [{"role": "user", "content": "Which class are trains booked in?"}]
NEW = {"conversation": "new"}

Serve = Callable[[ChatModel], AbstractContextManager[str]]


class EndlessChatModel(ScriptedChatModel):
    """Never comes to an end by itself."""

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
        try:
            while True:
                yield ModelDelta(text="and so on ")
                await asyncio.sleep(0.01)
        finally:
            self.closed += 1


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Serve one small store with the given model."""

    @contextmanager
    def start(model: ChatModel) -> Iterator[str]:
        docs = tmp_path / "docs"
        docs.mkdir(exist_ok=True)
        (docs / "travel.txt").write_text(TEXT)

        @asynccontextmanager
        async def opening(settings: Settings) -> AsyncIterator[Live]:
            with fake_engine(tmp_path / "data") as engine:
                await Ingestor(engine).run([docs], "default")
                await engine.open_store("other")
                yield Live(engine, Answerer(engine.retriever, model, settings.chat))

        with serving(create_app(load_settings(), opening)) as url:
            yield url

    return start


def said(*script: str | Exception) -> ScriptedChatModel:
    return ScriptedChatModel(*(script or ("Trains are booked in second class.",)))


def ask(url: str, **change: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json={"model": "quoth", "messages": ASKED, **change})


def frames_of(reply: httpx.Response) -> list[dict[str, Any]]:
    frames = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    return [json.loads(frame) for frame in frames if frame != "[DONE]"]


def kept(url: str, conversation: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{url}/v1/conversations/{conversation}").json()["messages"]["data"]
    return found


def test_a_conversation_is_kept_and_gone_on_with(serve: Serve) -> None:
    model = said()
    with serve(model) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as api:
        first = api.chat.completions.create(model="quoth", messages=ASKED, extra_body=NEW)
        name = first.conversation  # type: ignore[attr-defined]
        assert first.history == {"kept": 0, "left_out": 0}  # type: ignore[attr-defined]
        follow_up = [{"role": "user", "content": "And who says so?"}]
        second = api.chat.completions.create(
            model="quoth/default", messages=follow_up, extra_body={"conversation": name}
        )
        assert second.conversation == name  # type: ignore[attr-defined]
        assert second.history == {"kept": 2, "left_out": 0}  # type: ignore[attr-defined]
        found = httpx.get(f"{url}/v1/conversations/{name}").json()
    assert [message.content for message in model.prompts[1].messages[1:]] == [
        "Which class are trains booked in?", "Trains are booked in second class.", "And who says so?",
    ]  # fmt: skip
    assert (found["object"], found["model"], found["title"]) == (
        "conversation", "quoth/default", "Which class are trains booked in?",
    )  # fmt: skip
    messages = found["messages"]["data"]
    assert [(m["role"], m["status"]) for m in messages] == [("user", "complete"), ("assistant", "complete")] * 2
    assert messages[1]["id"] == first.answer_id  # type: ignore[attr-defined]
    assert messages[1]["citations"] == first.citations  # type: ignore[attr-defined]
    assert messages[1]["sentences"] == first.sentences  # type: ignore[attr-defined]
    assert "trains" in messages[3]["stand_alone"]
    assert messages[3]["sources"][0]["chunk_id"] == messages[3]["citations"][0]["chunk_id"]


def test_the_first_and_the_last_chunk_name_it(serve: Serve) -> None:
    with serve(said("Trains are booked ", "in second class.")) as url:
        chunks = frames_of(ask(url, stream=True, **NEW))
        (message,) = kept(url, chunks[0]["conversation"])[1:]
    named = [(chunk.get("conversation"), chunk.get("answer_id"), chunk.get("history")) for chunk in chunks]
    assert named[0] == named[-1] == (chunks[0]["conversation"], message["id"], {"kept": 0, "left_out": 0})
    assert all(name == (None, None, None) for name in named[1:-1])
    assert message["content"] == "Trains are booked in second class."


def test_several_new_messages_are_one_question(serve: Serve) -> None:
    with serve(said()) as url:
        messages = [{"role": "user", "content": "Trains."}, {"role": "user", "content": "Which class?"}]
        name = ask(url, messages=messages, **NEW).json()["conversation"]
        assert kept(url, name)[0]["content"] == "Trains.\n\nWhich class?"


def test_without_a_conversation_nothing_is_kept(serve: Serve) -> None:
    talk = [*ASKED, {"role": "assistant", "content": "Second class."}, {"role": "user", "content": "Why?"}]
    with serve(said()) as url:
        done = ask(url, messages=talk).json()
        assert done["history"] == {"kept": 2, "left_out": 0}
        assert "conversation" not in done
        assert "answer_id" not in done
        assert httpx.get(f"{url}/v1/conversations").json()["data"] == []


def test_history_that_is_too_long_is_said_to_be_left_out(serve: Serve) -> None:
    long = [{"role": "user", "content": "word " * 1500}, {"role": "assistant", "content": "Yes."}, *ASKED]
    with serve(said()) as url:
        assert ask(url, messages=long).json()["history"] == {"kept": 1, "left_out": 1}


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_breaks_off_is_incomplete(serve: Serve, stream: bool) -> None:
    with serve(said("Trains are", UpstreamUnavailableError("silence"))) as url:
        ask(url, stream=stream, **NEW)
        (listed,) = httpx.get(f"{url}/v1/conversations").json()["data"]
        question, answer = kept(url, listed["id"])
        assert ask(url, conversation=listed["id"]).status_code == 503
    assert question["content"] == ASKED[0]["content"]
    assert (answer["status"], answer["content"], answer["error_code"]) == (
        "incomplete", "Trains are", "upstream_unavailable",
    )  # fmt: skip


def test_an_answer_that_never_begins_is_failed(serve: Serve) -> None:
    with serve(said(UpstreamRejectedError("wrong key"))) as url:
        assert ask(url, **NEW).status_code == 502
        (listed,) = httpx.get(f"{url}/v1/conversations").json()["data"]
        assert kept(url, listed["id"])[1]["status"] == "failed"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_leaves_what_was_said(serve: Serve, stream: bool) -> None:
    body = json.dumps({"model": "quoth", "messages": ASKED, "stream": stream, **NEW}).encode()
    with serve(EndlessChatModel()) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            listed: list[dict[str, Any]] = []
            while not listed:
                listed = httpx.get(f"{url}/v1/conversations").json()["data"]
            time.sleep(0.3)
            busy = ask(url, conversation=listed[0]["id"])
            assert (busy.status_code, busy.json()["error"]["code"]) == (409, "conversation_busy")
        deadline = time.monotonic() + 10
        while kept(url, listed[0]["id"])[1]["error_code"] is None and time.monotonic() < deadline:
            time.sleep(0.02)
        answer = kept(url, listed[0]["id"])[1]
    assert (answer["status"], answer["error_code"]) == ("incomplete", "interrupted")
    assert answer["content"].startswith("and so on")


def test_bad_ids_and_bodies_are_refused_in_the_one_shape(serve: Serve) -> None:
    missing = "3b1f8a52-0000-4000-8000-000000000000"
    with serve(said()) as url:
        other = ask(url, **NEW).json()["conversation"]
        replies = [
            (ask(url, conversation=missing), 404, "not_found"),
            (ask(url, conversation="../../etc"), 404, "not_found"),
            (ask(url, conversation=""), 400, "invalid_request"),
            (ask(url, conversation="x" * 65), 400, "invalid_request"),
            (ask(url, conversation=other, model="quoth/other"), 400, "invalid_request"),
            (ask(url, model="quoth/nope", **NEW), 404, "model_not_found"),
            (ask(url, messages=[{"role": "user", "content": " "}], **NEW), 400, "invalid_request"),
            (ask(url, messages=[{"role": "system", "content": "x"}, *ASKED], **NEW), 400, "invalid_request"),
            (httpx.get(f"{url}/v1/conversations/{missing}"), 404, "not_found"),
            (httpx.delete(f"{url}/v1/conversations/{missing}"), 404, "not_found"),
            (httpx.get(f"{url}/v1/conversations?limit=0"), 400, "invalid_request"),
            (httpx.get(f"{url}/v1/conversations?after=nope"), 404, "not_found"),
            (httpx.get(f"{url}/v1/conversations/{'x' * 65}"), 400, "invalid_request"),
        ]
        for reply, status, code in replies:
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text
        assert len(httpx.get(f"{url}/v1/conversations").json()["data"]) == 1, "refused requests keep nothing"


def test_pages_and_deletion(serve: Serve, tmp_path: Path) -> None:
    with serve(said()) as url:
        asked = [{"role": "user", "content": "Which xylophone-canary class?"}]
        names = [ask(url, messages=asked, **NEW).json()["conversation"] for _ in range(3)]
        page = httpx.get(f"{url}/v1/conversations?limit=2").json()
        assert ([c["id"] for c in page["data"]], page["has_more"]) == ([names[2], names[1]], True)
        page = httpx.get(f"{url}/v1/conversations?after={page['last_id']}").json()
        assert ([c["id"] for c in page["data"]], page["has_more"]) == ([names[0]], False)
        messages = httpx.get(f"{url}/v1/conversations/{names[0]}?limit=1").json()["messages"]
        assert (len(messages["data"]), messages["has_more"]) == (1, True)
        for name in names:
            gone = httpx.delete(f"{url}/v1/conversations/{name}").json()
            assert gone == {"id": name, "object": "conversation.deleted", "deleted": True}
        assert httpx.get(f"{url}/v1/conversations/{names[0]}").status_code == 404
        assert all(b"xylophone" not in path.read_bytes() for path in (tmp_path / "data").glob("ledger*"))
