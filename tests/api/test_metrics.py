"""GET /metrics."""

import re
from pathlib import Path

import httpx

from api.metrics import Metrics
from api.observation import Observation
from rag.errors import UpstreamUnavailableError
from rag.events import Usage
from tests.fakes import ScriptedChatModel
from tests.served import serving_stores

SAID = "Trains are booked in second class."
BODY = {"model": "quoth/default", "messages": [{"role": "user", "content": "Which class are trains booked in?"}]}


def values(text: str) -> dict[str, float]:
    """Samples by name and labels."""
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines() if line and not line.startswith("#")
    }  # fmt: skip


def test_requests_stages_and_tokens_are_counted(tmp_path: Path) -> None:
    with serving_stores(tmp_path, ScriptedChatModel(SAID)) as served:
        for stream in (True, False):
            httpx.post(f"{served.url}/v1/chat/completions", json={**BODY, "stream": stream})
        for name in ("a", "b"):
            httpx.get(f"{served.url}/v1/conversations/{name}")
            httpx.get(f"{served.url}/no/such/{name}")
        httpx.request("BREW", f"{served.url}/v1/models")
        reply = httpx.get(f"{served.url}/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = values(reply.text)
    chat = 'method="POST",route="/v1/chat/completions"'
    assert found[f'quoth_requests_total{{{chat},status="2xx"}}'] == 2
    assert found[f"quoth_request_seconds_count{{{chat}}}"] == 2
    one = 'method="GET",route="/v1/conversations/{conversation_id}",status="4xx"'
    assert found[f"quoth_requests_total{{{one}}}"] == 2
    assert found['quoth_requests_total{method="GET",route="none",status="4xx"}'] == 2
    assert any('method="other"' in name for name in found)
    for stage in ("embed", "vectors", "fuse", "join", "first_token", "grounding", "answer"):
        assert found[f'quoth_stage_seconds_count{{stage="{stage}"}}'] == 2, stage
    assert found['quoth_answers_total{outcome="complete"}'] == 2
    assert found['quoth_tokens_total{direction="completion"}'] == 2 * len(SAID.split())
    assert found['quoth_tokens_total{direction="prompt"}'] > 0
    assert found['quoth_jobs{state="done"}'] == 2
    assert found['quoth_slots_taken{state="answers"}'] == 0
    assert found["quoth_answers_open"] == 0
    assert found["quoth_log_lines_dropped_total"] == 0
    assert found["process_open_fds"] > 0


def test_answers_that_fail_are_counted_as_such(tmp_path: Path) -> None:
    model = ScriptedChatModel("Trains are", UpstreamUnavailableError("gone"))
    with serving_stores(tmp_path, model) as served:
        reply = httpx.post(f"{served.url}/v1/chat/completions", json=BODY)
        assert reply.status_code == 503
        found = values(httpx.get(f"{served.url}/metrics").text)
    assert found['quoth_answers_total{outcome="failed"}'] == 1
    assert found['quoth_requests_total{method="POST",route="/v1/chat/completions",status="5xx"}'] == 1


def test_nothing_that_a_caller_chooses_becomes_a_label(tmp_path: Path) -> None:
    canary = "canary4711"
    with serving_stores(tmp_path, ScriptedChatModel(SAID)) as served:
        httpx.get(f"{served.url}/v1/models/{canary}", headers={"authorization": canary, "x-request-id": canary})
        httpx.post(f"{served.url}/v1/chat/completions?{canary}", json={**BODY, "model": canary, "user": canary})
        httpx.request(canary.upper(), f"{served.url}/{canary}")
        text = httpx.get(f"{served.url}/metrics").text
    assert canary not in text.lower()
    assert len(re.findall(r"^quoth_requests_total", text, re.MULTILINE)) <= 4


def test_each_application_counts_for_itself() -> None:
    first, second = Metrics(), Metrics()
    first.add(Observation("GET", "/x", 200))
    assert b'route="/x"' in first.text()
    assert b'route="/x"' not in second.text()


def test_what_answers_cost_adds_up() -> None:
    metrics, seen = Metrics(), Observation("POST", "/x", 200)
    seen.answered("complete", Usage(10, 5, cost=0.25))
    seen.answered("failed", Usage(10, 5))
    metrics.add(seen)
    metrics.add(seen)
    found = values(metrics.text().decode())
    assert found["quoth_cost_total"] == 0.5
    assert found['quoth_tokens_total{direction="prompt"}'] == 40


def test_readings_are_taken_when_it_is_read() -> None:
    text = Metrics().text([("waiting", "Who waits.", {"answers": 3.0})]).decode()
    assert values(text)['quoth_waiting{state="answers"}'] == 3
