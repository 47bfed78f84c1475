"""Canaries in environment, headers, bodies, paths and file names: in no log, no figure and no error."""

import json
import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.api.server_process import ended, server_process

KEY = "canarykey0001"
ENVIRONMENT = {
    "QUOTH_SERVER__API_KEY": KEY,
    "QUOTH_CHAT__API_KEY": "canarychat0002",
    "QUOTH_QDRANT__API_KEY": "canaryqdrant03",
    "OPENAI_API_KEY": "canaryopenai04",
    "DATABASE_URL": "postgresql://user:canarydsn0005@db/x",
    "QUOTH_LOG_LEVEL": "debug",
    "PYTHONASYNCIODEBUG": "0",
}
GIVEN = {
    "authorization": f"Bearer {KEY}",
    "x-canary": "canaryheader06",
    "cookie": "s=canarycookie7",
    "user-agent": "canaryagent08",
}
CHAT = "/v1/chat/completions"
CANARY = re.compile(rb"canary\w{0,20}", re.IGNORECASE)
INNARDS = re.compile(r"Traceback|File \"|/site-packages/|sqlalchemy|SELECT |\.py\b|/work/|/tmp/", re.IGNORECASE)


def chat(question: str, **more: object) -> dict[str, object]:
    return {"model": "quoth/default", "messages": [{"role": "user", "content": question}], **more}


@pytest.mark.slow
def test_no_canary_is_told(tmp_path: Path) -> None:
    with server_process(tmp_path, environment=ENVIRONMENT) as (process, port):
        with httpx.Client(base_url=f"http://localhost:{port}", headers=GIVEN, timeout=30) as client:
            crash = "canarybody0009 words=3 at={} end=crash saying=canarycrash10"
            replies = [
                client.post(CHAT, json=chat(crash.format(0))),
                client.post(CHAT, json=chat(crash.format(0), stream=True)),
                client.post(CHAT, json=chat("canarybody0009 words=3 at=0 end=raise")),
                client.post(CHAT, content=b'{"canarybody0009": '),
                client.post(CHAT, json={"model": "quoth/default", "messages": "canarybody0009"}),
                client.post("/v1/responses", json={"model": "quoth", "input": crash.format(0)}),
                client.post(
                    "/v1/files", files={"file": ("canaryfile0011.zzz", b"canarybytes12")}, data={"purpose": "x"}
                ),
                client.post("/v1/embeddings", json={"model": 3, "input": "canarybody0009"}),
                client.get("/v1/files?limit=canaryquery13"),
            ]
            broken = client.post(CHAT, json=chat(crash.format(2), stream=True))
            wrong = client.get("/v1/models", headers={"authorization": "Bearer canarywrong14"})
            named = client.post(
                "/v1/files", files={"file": ("canary\x1b[2Jfile.txt", b"text")}, data={"purpose": "assistants"}
            )
            metrics = client.get("/metrics")
        process.send_signal(signal.SIGTERM)
        assert ended(process, 15) == 0
        assert process.stderr is not None
        log = process.stderr.read()
    assert [reply.status_code for reply in replies[:3]] == [500, 500, 503]
    assert wrong.status_code == 401
    assert named.status_code < 500
    for reply in (*replies, wrong):
        assert reply.status_code >= 400
        assert reply.headers["x-request-id"]
        assert not CANARY.findall(reply.content), reply.text
        assert not INNARDS.search(reply.text), reply.text
    last = [line for line in broken.text.split("\n\n") if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "internal_error"
    assert "canarycrash" not in broken.text
    assert metrics.status_code == 200
    assert not CANARY.findall(metrics.content)
    assert log.count(b'"message": "request"') == 13
    assert b"RuntimeError" in log
    assert not CANARY.findall(log), CANARY.findall(log)


def test_what_the_canaries_are_looked_for_with_finds_them() -> None:
    assert CANARY.findall(b"x canarykey0001 y") == [b"canarykey0001"]
    assert INNARDS.search('  File "x.py", line 3')
