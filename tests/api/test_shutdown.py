"""A server that is told to end admits nothing more, and ends each open stream with one terminal event."""

import asyncio
import json
import signal
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from api.app import create_app
from api.drain import Drain, ShuttingDownError
from rag.ledger.connection import connect
from rag.ledger.tables import messages
from rag.settings import load_settings
from tests.api.server_process import Told, ask, body, ended, request, server_process, until

ENDLESS = "words=100000 gap=0.02"
CHAT = "/v1/chat/completions"


def error_code(told: Told) -> str:
    (terminal,) = told.terminals
    return str(json.loads(terminal.removeprefix("data: "))["error"]["code"])


@pytest.mark.slow
def test_what_is_open_ends_with_one_terminal_event(tmp_path: Path) -> None:
    asked = {"model": "quoth/default", "input": ENDLESS, "stream": True}
    sent = [
        *(request(CHAT, body(ENDLESS)) for _ in range(8)),
        *(request(CHAT, body(ENDLESS, conversation="new")) for _ in range(2)),
        *(request("/v1/responses", json.dumps(asked).encode()) for _ in range(2)),
        request(CHAT, body("words=60 gap=0.01")),
        request(CHAT, body(ENDLESS, stream=False)),
    ]

    async def drive(port: int, process_signal: object) -> list[Told]:
        asking = [asyncio.create_task(ask(port, each)) for each in sent]
        await asyncio.sleep(1.0)  # all of them are being answered
        process_signal()  # type: ignore[operator]
        return await asyncio.gather(*asking)

    with server_process(tmp_path, environment={"QUOTH_SERVER__SHUTDOWN_SECONDS": "1"}) as (process, port):
        told = asyncio.run(drive(port, lambda: process.send_signal(signal.SIGTERM)))
        assert ended(process, 10) == 0
    for each in told[:10]:
        assert (each.status, each.is_whole) == (200, True)
        assert error_code(each) == "server_shutting_down"
        assert each.text.startswith("word0")
    for each in told[10:12]:
        (terminal,) = each.terminals
        assert each.is_whole
        assert terminal.startswith(("event: response.failed", "event: response.incomplete"))
    assert told[12].terminals == ["data: [DONE]"]
    assert told[12].text.split()[-1] == "word59"
    assert told[13].status == 503
    assert "server_shutting_down" in told[13].frames[0]
    ledger = connect(tmp_path / "data")
    with ledger.connect() as connection:
        kept = connection.execute(select(messages.c.status, messages.c.content).where(messages.c.role == "assistant"))
        assert [(status, content[:5]) for status, content in kept] == [("incomplete", "word0")] * 2
    ledger.dispose()


@pytest.mark.slow
def test_the_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async def drive(port: int, process_signal: object) -> Told:
        asking = asyncio.create_task(ask(port, request(CHAT, body(ENDLESS))))
        await asyncio.sleep(0.7)
        process_signal()  # type: ignore[operator]
        await asyncio.sleep(0.5)
        assert not asking.done()
        process_signal()  # type: ignore[operator]
        return await asking

    with server_process(tmp_path, environment={"QUOTH_SERVER__SHUTDOWN_SECONDS": "60"}) as (process, port):
        told = asyncio.run(drive(port, lambda: process.send_signal(signal.SIGTERM)))
        assert ended(process, 5) == 128 + signal.SIGTERM
    assert (told.is_whole, told.terminals) == (False, [])


@pytest.mark.slow
def test_an_idle_server_ends_at_once_by_sigint_also_when_nobody_takes_its_traces(tmp_path: Path) -> None:
    environment = {"QUOTH_SERVER__SHUTDOWN_SECONDS": "60", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with server_process(tmp_path, environment=environment) as (process, port):
        assert httpx.get(f"http://localhost:{port}/health/live").status_code == 200
        process.send_signal(signal.SIGINT)
        assert ended(process, 15) == 0


def test_nothing_is_admitted_while_it_ends(tmp_path: Path) -> None:
    app = create_app(load_settings({"data_dir": tmp_path}))

    async def drive() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            app.state.drain.begin(60)
            return [await client.get("/health/ready"), await client.get("/health/live")]

    ready, live = asyncio.run(drive())
    assert (ready.status_code, ready.json()["error"]["code"]) == (503, "server_shutting_down")
    assert int(ready.headers["retry-after"]) > 0
    assert live.status_code == 200


def test_who_comes_after_the_cut_is_told_at_once() -> None:
    async def drive() -> list[str]:
        drain, told = Drain(), []
        with drain.telling(lambda: told.append("early")):
            drain.begin(0)
            await until(lambda: drain.is_cut)
            with drain.telling(lambda: told.append("late")):
                assert drain.open_answers == 2
        assert drain.open_answers == 0
        return told

    assert asyncio.run(drive()) == ["early", "late"]


def test_the_error_says_what_to_do_next() -> None:
    with pytest.raises(ShuttingDownError, match="ask again"):
        raise ShuttingDownError
