"""POST /v1/responses as a stream: the sequence of events, and every way of ending."""

import asyncio
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from sqlalchemy import select, update

from api.response_recording import ResponseRecorder
from api.response_stream import TERMINAL, ResponseDraft, response_events
from api.schemas.response_objects import envelope
from api.schemas.responses import ResponseRequest
from ingest.pipeline import Ingestor
from rag.access import Caller
from rag.answering import Answerer
from rag.assembly import Engine
from rag.errors import NotFoundError, QuothError, StorageUnavailableError, UpstreamUnavailableError
from rag.ledger.conversations import CLAIM_SECONDS
from rag.ledger.responses import Asked, Responses, StoredResponse
from rag.ledger.served_tables import responses as table
from rag.protocols import ChatModel, ModelDelta, Prompt, Sampling
from tests.fakes import ScriptedChatModel, fake_engine
from tests.served import TRAVEL, Served, serving_stores

ASKED = "Which class are trains booked in?"
PIECES = ("Trains are booked ", "in second", " class. ", "Flights need ", "the consent of a manager.")
SAID = "".join(PIECES)

Serve = Callable[[ChatModel], AbstractContextManager[Served]]


class EndlessChatModel(ScriptedChatModel):
    """Never comes to an end by itself."""

    loop: asyncio.AbstractEventLoop | None = None

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
        self.loop = asyncio.get_running_loop()
        try:
            while True:
                yield ModelDelta(text="and so on ")
                await asyncio.sleep(0.01)
        finally:
            self.closed += 1


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    @contextmanager
    def start(model: ChatModel) -> Iterator[Served]:
        with serving_stores(tmp_path, model) as served:
            yield served

    return start


def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


def test_the_events_are_those_of_openai_in_their_order(serve: Serve) -> None:
    with serve(ScriptedChatModel(*PIECES)) as served:
        reply = httpx.post(f"{served.url}/v1/responses", json={"model": "quoth", "input": ASKED, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    frames = [frame.split("\n") for frame in reply.text.split("\n\n") if frame and not frame.startswith(":")]
    assert all(len(lines) == 2 for lines in frames)
    events = [json.loads(data.removeprefix("data: ")) for _, data in frames]
    assert [name for name, _ in frames] == [f"event: {event['type']}" for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    names = [event["type"].removeprefix("response.") for event in events]
    assert names[:9] == [
        "created", "in_progress", "output_item.added", "file_search_call.in_progress", "file_search_call.searching",
        "file_search_call.completed", "output_item.done", "output_item.added", "content_part.added",
    ]  # fmt: skip
    assert names[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert set(names[9:-4]) == {"output_text.delta", "output_text.annotation.added"}
    assert "".join(event["delta"] for event in events if event["type"].endswith("text.delta")) == SAID
    whole = events[-1]["response"]
    notes = [event["annotation"] for event in events if event["type"].endswith("annotation.added")]
    numbers = [event["annotation_index"] for event in events if event["type"].endswith("annotation.added")]
    assert whole["output"][1]["content"][0]["annotations"] == notes
    assert numbers == list(range(len(notes)))
    assert [note["index"] for note in notes] == [citation["answer_end"] for citation in whole["citations"]]
    assert len(notes) == 2
    assert {event["response"]["id"] for event in events if "response" in event} == {whole["id"]}
    assert [event["response"]["status"] for event in events[:2]] == ["in_progress", "in_progress"]


def test_a_citation_stands_before_the_next_sentence(serve: Serve) -> None:
    with serve(ScriptedChatModel(*PIECES)) as served, client(served) as api:
        events = list(api.responses.create(model="quoth", input=ASKED, stream=True))
    said = ""
    for event in events:
        if event.type == "response.output_text.delta":
            said += event.delta
        elif event.type == "response.output_text.annotation.added":
            assert event.annotation is not None
            assert event.annotation.type == "file_citation"
            assert len(said) == event.annotation.index


def test_the_clients_helper_builds_what_is_kept(serve: Serve) -> None:
    with serve(ScriptedChatModel(*PIECES)) as served, client(served) as api:
        with api.responses.stream(model="quoth", input=ASKED) as stream:
            snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()
        kept = api.responses.retrieve(final.id)
    assert snapshots[-1] == final.output_text == kept.output_text == SAID
    assert final.status == kept.status == "completed"
    assert final.usage == kept.usage
    assert final.citations == kept.citations  # type: ignore[attr-defined]


def test_what_breaks_off_ends_in_failed_and_is_kept_so(serve: Serve) -> None:
    model = ScriptedChatModel("Trains are", UpstreamUnavailableError("the model fell silent"))
    with serve(model) as served, client(served) as api:
        events = list(api.responses.create(model="quoth", input=ASKED, stream=True))
        last = events[-1]
        assert [event.type for event in events if event.type in TERMINAL] == ["response.failed"]
        assert last.type == "response.failed"
        assert last.response.error is not None
        assert (last.response.error.code, last.response.error.message) == ("server_error", "the model fell silent")
        assert not any(event.type.endswith((".text.done", "part.done")) for event in events)
        assert api.responses.retrieve(last.response.id) == last.response
        with api.responses.stream(model="quoth", input=ASKED) as stream, pytest.raises(RuntimeError):
            stream.get_final_response()


def test_failure_before_the_first_word_is_a_status(serve: Serve) -> None:
    with serve(ScriptedChatModel(UpstreamUnavailableError("nobody there"))) as served, client(served) as api:
        with pytest.raises(openai.APIStatusError) as caught:
            api.responses.create(model="quoth", input=ASKED, stream=True)
        assert (caught.value.status_code, caught.value.code) == (503, "upstream_unavailable")


def test_a_reader_that_leaves_stops_the_model_and_leaves_nothing_that_looks_whole(serve: Serve) -> None:
    model = EndlessChatModel()
    body = json.dumps({"model": "quoth", "input": ASKED, "stream": True}).encode()
    with serve(model) as served:
        host, port = served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /v1/responses HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert b"200 OK" in connection.recv(1000)
        deadline = time.monotonic() + 10
        while "in_progress" in statuses(served.engine) or not statuses(served.engine):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert (model.closed, statuses(served.engine)) == (1, ["failed"])
        with served.engine.responses._engine.connect() as ledger:
            kept = ledger.execute(select(table.c.body)).scalar_one()
        assert kept["error"]["type"] == "interrupted"
        assert kept["output"][1]["status"] == "incomplete"


def test_a_server_that_ends_says_so_at_the_end_of_its_streams(serve: Serve) -> None:
    model = EndlessChatModel()
    body = {"model": "quoth", "input": ASKED, "stream": True}
    with serve(model) as served:
        with httpx.stream("POST", f"{served.url}/v1/responses", json=body) as reply:
            pieces = reply.iter_raw()
            seen = next(pieces)
            assert model.loop is not None
            model.loop.call_soon_threadsafe(served.app.state.drain.cut)
            seen += b"".join(pieces)
        assert (model.closed, statuses(served.engine)) == (1, ["failed"])
    events = [json.loads(line[6:]) for line in seen.decode().splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events if event["type"] in TERMINAL] == ["response.failed"]
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(set(numbers))
    last = events[-1]["response"]
    assert (last["status"], last["error"]["type"]) == ("failed", "server_shutting_down")
    assert last["output"][1]["content"][0]["text"].startswith("".join(event.get("delta", "") for event in events))


def statuses(engine: Engine) -> list[str]:
    with engine.responses._engine.connect() as connection:
        return list(connection.scalars(select(table.c.status)))


def test_what_a_killed_server_leaves_does_not_look_whole(serve: Serve) -> None:
    with serve(ScriptedChatModel(SAID)) as served, client(served) as api:
        made = api.responses.create(model="quoth", input=ASKED)
        unfinished = {**made.to_dict(), "status": "in_progress"}
        changed = {"status": "in_progress", "body": unfinished, "updated_at": time.time() - CLAIM_SECONDS - 1}
        with served.engine.responses._engine.begin() as connection:
            connection.execute(update(table).values(**changed))
        found = api.responses.retrieve(made.id)
        assert (found.status, found.output[1].status) == ("failed", "incomplete")  # type: ignore[union-attr]
        assert found.error is not None
        assert found.error.type == "interrupted"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "travel.txt").write_text(TRAVEL)
    with fake_engine(tmp_path / "data") as engine:
        asyncio.run(Ingestor(engine).run([tmp_path / "docs"], "default"))
        yield engine


class FailingResponses(Responses):
    """Loses its ledger between the beginning and the end."""

    def finish(self, *_: Any) -> None:
        raise StorageUnavailableError("the disk is full")


class SlowResponses(Responses):
    """Takes its time to begin."""

    def begin(self, response: StoredResponse) -> None:
        time.sleep(0.2)
        super().begin(response)


def drafted(engine: Engine, known: Responses, number: int) -> tuple[ResponseDraft, ResponseRecorder]:
    request = ResponseRequest(model="quoth", input=ASKED)  # type: ignore[arg-type]
    draft = ResponseDraft(envelope(request, f"resp_{number:048x}", 1, 0), shows_results=True)
    store = engine.stores.get("default")
    body = draft.body()
    row = StoredResponse(
        id=body["id"], tenant="default", key_id="", previous_id=None, status="in_progress", body=body,
        asked=(Asked("msg_1", "user", ASKED),), answered="", store_ids=(store.id,),
    )  # fmt: skip
    return draft, ResponseRecorder(known, row)


async def write(
    engine: Engine, known: Responses, model: ChatModel, number: int = 1, leave_after: int | None = None
) -> list[dict[str, Any]]:
    """The events of one response, as its reader sees them, which may leave after some."""
    answerer = Answerer(engine.retriever, model, engine.settings.chat)
    prepared = await answerer.prepare("default", ASKED)
    draft, recorder = drafted(engine, known, number)
    await recorder.begin()
    seen: list[dict[str, Any]] = []
    events = response_events(answerer.stream(prepared), draft, recorder)
    try:
        async for event in events:
            seen.append(event)
            if len(seen) == leave_after:
                break
    finally:
        await events.aclose()  # type: ignore[attr-defined]
    return seen


def test_however_it_is_cut_it_ends_once_and_only_a_whole_one_looks_whole(engine: Engine) -> None:
    draw = random.Random(7)
    endings: set[str] = set()
    for number in range(150):
        said: list[str | Exception] = [*PIECES]
        fault = draw.choice(["none", "raises", "unexpected", "silent", "leaves"])
        if fault in ("raises", "unexpected"):
            error = UpstreamUnavailableError("cut") if fault == "raises" else ZeroDivisionError("cut")
            said.insert(draw.randint(1, len(said)), error)
        model = ScriptedChatModel(*said, finish=fault != "silent")
        leaving = draw.randint(1, 20) if fault == "leaves" else None
        seen = asyncio.run(write(engine, engine.responses, model, number, leaving))
        kept = engine.responses.get(f"resp_{number:048x}", Caller())
        terminal = [event["type"] for event in seen if event["type"] in TERMINAL]
        assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
        assert model.closed == 1
        if fault == "none":
            assert terminal == ["response.completed"]
        elif fault == "leaves":
            assert len(terminal) <= 1
        else:
            assert terminal == ["response.failed"]
        if terminal:
            assert seen[-1]["type"] == terminal[0]
            assert seen[-1]["response"] == kept.body
        # Who leaves within the last events of a whole answer leaves a whole answer.
        assert kept.status == ("completed" if "response.completed" in terminal or kept.body["usage"] else "failed")
        assert kept.status == "failed" or kept.answered == SAID
        assert kept.body["status"] == kept.status
        assert kept.answered.startswith("".join(event.get("delta", "") for event in seen))
        endings.add(f"{fault} {kept.status}")
    assert {"none completed", "raises failed", "unexpected failed", "silent failed", "leaves failed"} <= endings


def test_what_cannot_be_kept_is_not_said_to_be_whole(engine: Engine) -> None:
    known = FailingResponses(engine.responses._engine)
    seen = asyncio.run(write(engine, known, ScriptedChatModel(*PIECES)))
    assert [event["type"] for event in seen if event["type"] in TERMINAL] == ["response.failed"]
    assert seen[-1]["response"]["error"]["type"] == "storage_unavailable"
    assert not any(event["type"] == "response.output_text.done" for event in seen)
    assert known.get(f"resp_{1:048x}", Caller()).status == "in_progress"


def test_who_leaves_while_it_is_begun_leaves_nothing_open(engine: Engine) -> None:
    known = SlowResponses(engine.responses._engine)

    async def leave() -> None:
        draft, recorder = drafted(engine, known, 1)
        beginning = asyncio.ensure_future(recorder.begin())
        await asyncio.sleep(0.05)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        await recorder.close(draft)

    asyncio.run(leave())
    assert known.get(f"resp_{1:048x}", Caller()).status == "failed"


def test_a_store_that_goes_meanwhile_is_said(engine: Engine) -> None:
    async def lose() -> None:
        draft, recorder = drafted(engine, engine.responses, 1)
        engine.stores.delete(engine.stores.get("default"))
        with pytest.raises(QuothError, match="was deleted"):
            await recorder.begin()
        await recorder.close(draft)

    asyncio.run(lose())
    with pytest.raises(NotFoundError):
        engine.responses.get(f"resp_{1:048x}", Caller())
