"""The log of a server: one line a record, no content, no secret, and a sink that cannot stop anybody."""

import io
import json
import logging
import os
import signal
from pathlib import Path

import httpx
import pytest

from api.logs import Line, LogSink, escaped, names_of, secrets_of
from rag.errors import UpstreamRejectedError
from rag.settings import load_settings
from tests.api.server_process import body, ended, post, server_process


def record(name: str, message: str, *args: object, level: int = logging.WARNING, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord(name, level, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


def test_a_line_is_one_json_object() -> None:
    made = record("api.requests", "request", fields={"status": 200, "key_id": None, "route": "/v1/files"})
    line = json.loads(Line(as_json=True).format(made))
    assert (line["level"], line["message"], line["status"], line["route"]) == ("warning", "request", 200, "/v1/files")
    assert "key_id" not in line
    assert line["time"].endswith("Z")


def test_nothing_forges_a_line() -> None:
    hostile = "a\n2026 error forged\r\x1b[2J\u202egnp\u2028x\x00"
    for as_json in (True, False):
        line = Line(as_json=as_json).format(record("rag.x", "name %s", hostile, fields={"n": hostile}))
        assert line.isprintable()
        assert "forged" in line
    assert escaped("Größe 5 µm – 東京") == "Größe 5 µm – 東京"


def test_exceptions_tell_their_classes_and_places_alone() -> None:
    try:
        try:
            raise ValueError("the secret 4711")
        except ValueError as error:
            raise UpstreamRejectedError("so it said 4711") from error
    except UpstreamRejectedError as error:
        made = record("rag.x", "it failed: %s", error)
        made.exc_info = (type(error), error, error.__traceback__)
    line = Line(as_json=True).format(made)
    assert "4711" not in line
    assert json.loads(line)["message"] == "it failed: UpstreamRejectedError < ValueError"
    assert "test_logs.py" in line
    assert str(Path(__file__).parent.parent) not in line
    assert names_of(KeyError("x")) == "KeyError"


def test_what_libraries_fill_in_is_left_out() -> None:
    line = Line(as_json=True)
    assert "4711" not in line.format(record("openai", "Request options: %s", {"messages": "4711"}))
    assert "4711" not in line.format(
        record("asyncio", "Task exception was never retrieved\nfuture: ValueError('4711')")
    )


def test_secrets_of_the_settings_are_taken_out() -> None:
    told = {"server": {"api_key": "canary-key-1"}, "ledger_url": "postgresql://u:canary-pw-2@h/db"}
    secrets = secrets_of(load_settings(told))
    assert secrets == {"canary-key-1", "canary-pw-2"}
    line = Line(as_json=False, secrets=secrets).format(record("rag.x", "%s %s", "canary-key-1", told["ledger_url"]))
    assert "canary" not in line


def test_a_blocked_sink_holds_nobody_up_and_counts_what_it_drops() -> None:
    reading, writing = os.pipe()
    sink = LogSink(Line(as_json=False), writing, max_lines=10)
    for _ in range(2000):
        sink.emit(record("rag.x", "x" * 200))
    assert 1000 < sink.dropped < 2000
    os.set_blocking(reading, False)
    while sink._thread.is_alive():
        os.read(reading, 1 << 20)
        sink.close()
    os.close(reading)
    os.close(writing)


def test_a_sink_takes_ours_and_what_matters() -> None:
    reading, writing = os.pipe()
    sink = LogSink(Line(as_json=False), writing)
    for name, level in (("api.requests", logging.INFO), ("openai", logging.INFO), ("openai", logging.ERROR)):
        sink.emit(record(name, f"from {name}", level=level))
    sink.close()
    os.close(writing)
    with io.open(reading) as file:  # noqa: UP020
        lines = file.read().splitlines()
    assert [line.split(": ")[1] for line in lines] == ["from api.requests", "from openai"]


@pytest.mark.slow
def test_requests_are_told_in_one_line_each(tmp_path: Path) -> None:
    with server_process(tmp_path) as (process, port):
        url = f"http://localhost:{port}"
        asked = post(port, body("words=3", stream=False))
        httpx.get(f"{url}/nothing/canary-path?canary-query")
        process.send_signal(signal.SIGTERM)
        assert ended(process, 10) == 0
        assert process.stderr is not None
        written = process.stderr.read().decode()
    lines = [json.loads(line) for line in written.splitlines()]
    chat, missing = (line for line in lines if line["message"] == "request")
    assert chat["request_id"] == asked.headers["x-request-id"]
    assert (chat["method"], chat["route"], chat["status"], chat["answer"]) == (
        "POST",
        "/v1/chat/completions",
        200,
        "complete",
    )
    assert chat["completion_tokens"] == 3
    assert chat["ms"] > 0
    assert chat["stores"]
    assert (missing["route"], missing["status"]) == ("none", 404)
    assert "canary" not in written


@pytest.mark.slow
def test_a_server_whose_log_nobody_reads_goes_on(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    while True:  # until the pipe is full
        os.set_blocking(writing, False)
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    with os.fdopen(writing, "wb", buffering=0) as stderr, server_process(tmp_path, stderr=stderr) as (process, port):
        for _ in range(20):
            assert httpx.get(f"http://localhost:{port}/health/ready", timeout=10).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert ended(process, 10) == 0
    os.close(reading)
