"""POST /v1/chat/completions and GET /v1/models, spoken by the official client against a live server."""

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

Serve = Callable[..., AbstractContextManager[str]]


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
    def start(model: ChatModel, **server: Any) -> Iterator[str]:
        docs = tmp_path / "docs"
        docs.mkdir(exist_ok=True)
        (docs / "travel.txt").write_text(TEXT)

        @asynccontextmanager
        async def opening(settings: Settings) -> AsyncIterator[Live]:
            with fake_engine(tmp_path / "data") as engine:
                await Ingestor(engine).run([docs], "default")
                yield Live(engine, Answerer(engine.retriever, model, settings.chat))

        with serving(create_app(load_settings({"server": server}), opening)) as url:
            yield url

    return start


def client(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def said(*script: str | Exception) -> ScriptedChatModel:
    return ScriptedChatModel(*(script or ("Trains are booked in second class.",)))


def test_an_answer_with_citations(serve: Serve) -> None:
    with serve(said()) as url, client(url) as api:
        done = api.chat.completions.create(model="quoth/default", messages=ASKED)
    (choice,) = done.choices
    assert (choice.message.content, choice.finish_reason) == ("Trains are booked in second class.", "stop")
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 0
    (citation,) = done.citations  # type: ignore[attr-defined]
    assert TEXT[citation["char_start"] : citation["char_end"]] == citation["quote"]
    assert choice.message.annotations is not None
    note = choice.message.annotations[0].url_citation
    assert (note.start_index, note.end_index, note.url) == (0, 34, citation["uri"])


def test_a_streamed_answer_carries_the_same(serve: Serve) -> None:
    with serve(said("Trains are booked ", "in second class.")) as url, client(url) as api:
        chunks = list(
            api.chat.completions.create(
                model="quoth", messages=ASKED, stream=True, stream_options={"include_usage": True}
            )
        )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Trains are booked in second class."
    last = chunks[-2]
    assert last.choices[0].finish_reason == "stop"
    assert last.citations[0]["quote"] == text  # type: ignore[attr-defined]
    assert chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_with_done(serve: Serve) -> None:
    body = {"model": "quoth/default", "messages": ASKED, "stream": True}
    with serve(said()) as url:
        reply = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    frames = [line for line in reply.text.split("\n\n") if line]
    assert frames[-1] == "data: [DONE]"
    assert all(json.loads(frame.removeprefix("data: "))["object"] == "chat.completion.chunk" for frame in frames[:-1])


def test_a_stream_that_breaks_says_so_and_is_not_done(serve: Serve) -> None:
    with serve(said("Trains are", UpstreamUnavailableError("the model fell silent"))) as url:
        body = {"model": "quoth/default", "messages": ASKED, "stream": True}
        reply = httpx.post(f"{url}/v1/chat/completions", json=body)
        frames = [line for line in reply.text.split("\n\n") if line]
        with client(url) as api, pytest.raises(openai.APIError, match="fell silent"):
            list(api.chat.completions.create(model="quoth/default", messages=ASKED, stream=True))
    assert json.loads(frames[-1].removeprefix("data: "))["error"]["code"] == "upstream_unavailable"
    assert "[DONE]" not in reply.text


@pytest.mark.parametrize("stream", [True, False])
def test_failure_before_the_first_byte_is_a_status(serve: Serve, stream: bool) -> None:
    with serve(said(UpstreamRejectedError("wrong key"))) as url, client(url) as api:
        with pytest.raises(openai.APIStatusError) as caught:
            api.chat.completions.create(model="quoth/default", messages=ASKED, stream=stream)
        assert caught.value.status_code == 502
        with pytest.raises(openai.NotFoundError, match="no store named 'nope'"):
            api.chat.completions.create(model="quoth/nope", messages=ASKED, stream=stream)


def test_models_are_the_stores(serve: Serve) -> None:
    with serve(said()) as url, client(url) as api:
        assert [model.id for model in api.models.list()] == ["quoth", "quoth/default", "bag-of-words"]
        assert api.models.retrieve("quoth/default").owned_by == "quoth"
        with pytest.raises(openai.NotFoundError):
            api.models.retrieve("gpt-4o")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": []}, "tools"),
        ({"n": 2}, "n"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, None),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [{"role": "user", "content": " "}]}, None),
    ],
)
def test_what_is_not_supported_is_refused_in_the_shape_of_openai(
    serve: Serve, change: dict[str, Any], param: str | None
) -> None:
    with serve(said()) as url:
        reply = httpx.post(f"{url}/v1/chat/completions", json={"model": "quoth", "messages": ASKED, **change})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    if param:
        assert error["param"].startswith(param)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_model(serve: Serve, stream: bool) -> None:
    model = EndlessChatModel()
    body = json.dumps({"model": "quoth", "messages": ASKED, "stream": stream}).encode()
    with serve(model) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            if stream:
                assert b"200 OK" in connection.recv(1000)
            else:
                time.sleep(0.3)
        deadline = time.monotonic() + 5
        while not model.closed and time.monotonic() < deadline:
            time.sleep(0.01)
        assert model.closed == 1


def test_answers_beyond_the_limit_are_refused_at_once(serve: Serve) -> None:
    body = {"model": "quoth", "messages": ASKED, "stream": True}
    with serve(EndlessChatModel(), max_concurrent_answers=1, max_waiting_answers=0) as url:
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as first:
            pieces = first.iter_raw()
            next(pieces)
            refused = httpx.post(f"{url}/v1/chat/completions", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"


def test_a_key_is_asked_for_when_one_is_set(serve: Serve) -> None:
    with serve(said(), api_key="secret-key") as url:
        with client(url, "wrong") as api, pytest.raises(openai.AuthenticationError):
            api.models.list()
        with client(url, "secret-key") as api:
            assert api.models.list().data
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert httpx.get(f"{url}/health/live").json() == {"status": "live"}


def test_without_a_key_only_this_machine_is_answered(serve: Serve) -> None:
    with serve(said()) as url:
        refused = httpx.get(f"{url}/v1/models", headers={"host": "evil.example"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden_host")
        assert httpx.get(f"{url}/v1/models", headers={"host": "localhost:8000"}).status_code == 200


def test_bodies_are_bounded_also_without_a_length(serve: Serve) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    with serve(said(), max_body_bytes=2048) as url:
        for content in (b" " * 4096, endless()):
            reply = httpx.post(f"{url}/v1/chat/completions", content=content)
            assert reply.status_code == 413
            assert reply.json()["error"]["code"] == "too_large"


def test_health_and_unknown_paths(serve: Serve) -> None:
    with serve(said()) as url:
        assert httpx.get(f"{url}/health/ready").json() == {"status": "ready"}
        missing = httpx.get(f"{url}/nothing")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
        assert missing.headers["x-request-id"].startswith("req_")
        assert httpx.get(f"{url}/v1/chat/completions").json()["error"]["code"] == "method_not_allowed"
        assert httpx.post(f"{url}/v1/chat/completions", content=b"{").json()["error"]["type"] == "invalid_request_error"
