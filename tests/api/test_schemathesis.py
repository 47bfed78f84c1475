"""The whole document, called with what it allows and with what it does not: nothing fails, and all is as described."""

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from api.dependencies import Live
from ingest.pipeline import Ingestor
from rag.answering import Answerer
from rag.settings import Settings, load_settings
from tests.fakes import BagOfWordsEmbedder, ScriptedChatModel, fake_engine
from tests.live import serving

KEY = "an-administrator"
OPERATIONS = 43
# They have no parameter, or an id alone: schemathesis ends when it finds no example that is new.
FEW = {"GET /v1/models", "GET /health/live", "GET /health/ready", "GET /metrics"}
FEW |= {f"DELETE /v1/{what}" for what in ("files/{file_id}", "responses/{response_id}", "vector_stores/{store_id}")}
# No made-up id is that of a store, so that these would say 404 alone.
OF_A_STORE = ("POST /v1/vector_stores/{store_id}/search", "GET /v1/vector_stores/{store_id}/files")
VALID = re.compile(rb"[ -~]{1,255}")

# What JSON Schema cannot say about requests. Each is refused with 400 though its schema allows it, so that the
# one check that valid data is accepted is left out for that operation; all other checks are made.
UNSAID = {
    "POST /v1/chat/completions": "the last message is the user's; a streamed answer takes no Idempotency-Key",
    "POST /v1/responses": "the last message is the user's; a streamed answer takes no Idempotency-Key",
    "GET /v1/responses/{response_id}": "results can be included if they were kept; there is no stream",
    "GET /v1/documents": "`after` is the id of a document of this store",
    "GET /v1/documents/{document_id}": "a span ends behind its start, and within the text",
    "POST /v1/embeddings": "texts are no longer than the embedder reads",
    "POST /v1/vector_stores": "chunks overlap by half at most",
    "POST /v1/vector_stores/{store_id}/files": "chunks overlap by half at most",
    "POST /v1/vector_stores/{store_id}/file_batches": "either `file_ids` or `files`, and each file once",
    "POST /v1/vector_stores/{store_id}/search": "one of two weights is above 0",
    "GET /v1/vector_stores/{store_id}/files/{file_id}/content": "there is no text before the file is completed",
}


# The schema of filters is narrower than they are (two levels of twenty, plain names and numbers), since schemas that
# refer to themselves do not survive every generator of clients: what it leaves out may be accepted.
FILTERED = "POST /v1/vector_stores/{store_id}/search"


def unfit(name: str) -> list[str]:
    """The checks that are left out for an operation."""
    return ["positive_data_acceptance", *(["negative_data_rejection"] if name == FILTERED else [])]


class _Apart:
    """Every request has an address of its own, since ten wrong keys shut one out, and an Idempotency-Key of its own,
    as clients draw them: what a repeated one does is tested elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            number = next(self._numbers)
            scope["client"] = (f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1)
            scope["headers"] = [
                (name, b"key-%d" % number if name == b"idempotency-key" and VALID.fullmatch(value) else value)
                for name, value in scope["headers"]
            ]
        await self._app(scope, receive, send)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A server over one store, with a key, that works off what is attached."""
    docs = folder / "docs"
    docs.mkdir()
    (docs / "travel.txt").write_text("Trains are booked in second class. Flights need the consent of a manager.\n")

    @asynccontextmanager
    async def opening(settings: Settings) -> AsyncIterator[Live]:
        with fake_engine(folder / "data", BagOfWordsEmbedder("BAAI/bge-small-en-v1.5")) as engine:
            await Ingestor(engine).run([docs], "default")
            model = ScriptedChatModel("Trains are booked in second class.")
            live = Live(engine, Answerer(engine.retriever, model, settings.chat), asyncio.Semaphore(8))
            async with live.worker:
                yield live

    app = create_app(load_settings({"data_dir": folder / "data", "server": {"api_key": KEY}}), opening)
    with serving(_Apart(app)) as url:
        yield url


@dataclass
class Exercise:
    """How often each operation was called, and did what it was to do; and what was wrong."""

    called: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, event: events.ScenarioFinished) -> None:
        for case_id, node in event.recorder.cases.items():
            label = node.value.operation.label
            self.called[label] += 1
            interaction = event.recorder.interactions.get(case_id)
            if interaction and interaction.response and interaction.response.status_code == 200:
                self.done[label] += 1
        if event.status in (Status.FAILURE, Status.ERROR):
            self.wrong += list(_failures(event))


def exercised(url: str, examples: int, phases: dict[str, Any]) -> Exercise:
    """Call everything."""
    config = SchemathesisConfig.from_dict(
        {
            "base-url": url, "headers": {"Authorization": f"Bearer {KEY}"}, "request-timeout": 20,
            "continue-on-failure": True, "workers": 1, "cache": {"enabled": False},
            "generation": {"max-examples": examples, "deterministic": True, "database": "none", "no-shrink": True},
            "suppress-health-check": ["filter_too_much"],  # of the strings that it makes up, most are no path
            "phases": phases,
            "operations": [
                {"include-name": name, "checks": {each: {"enabled": False} for each in unfit(name)}} for name in UNSAID
            ]
            + [{"include-name": name, "parameters": {"path.store_id": "default"}} for name in OF_A_STORE],
        }
    )  # fmt: skip
    document = httpx.get(f"{url}/openapi.json", headers={"authorization": f"Bearer {KEY}"}).json()
    exercise = Exercise()
    for event in from_schema(schemathesis.openapi.from_dict(document, config=config)).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            exercise.wrong.append(f"{event}")
        if isinstance(event, events.ScenarioFinished):
            exercise.add(event)
    return exercise


def _failures(event: events.ScenarioFinished) -> Iterator[str]:
    for case_id, checks in event.recorder.checks.items():
        for check in checks:
            if check.status == Status.FAILURE and check.failure_info is not None:
                failure = check.failure_info
                label = event.recorder.cases[case_id].value.operation.label
                yield f"{event.phase.name} {label} {check.name}: {failure.failure.message}\n{failure.code_sample}"


def test_a_few_examples_of_every_operation(tmp_path: Path) -> None:
    few = {"coverage": {"enabled": False}, "stateful": {"max-steps": 6}}
    with served(tmp_path) as url:
        exercise = exercised(url, 3, few)
    assert not exercise.wrong, "\n\n".join(exercise.wrong)
    assert len(exercise.called) == OPERATIONS


@pytest.mark.long
def test_fifty_examples_of_every_operation(tmp_path: Path) -> None:
    with served(tmp_path) as url:
        exercise = exercised(url, 50, {})
    assert not exercise.wrong, "\n\n".join(exercise.wrong)
    assert len(exercise.called) == OPERATIONS
    assert {name for name, times in exercise.called.items() if times < 50} <= FEW
    assert all(exercise.done[name] for name in (*OF_A_STORE, "POST /v1/embeddings", "POST /v1/responses"))
