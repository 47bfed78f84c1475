"""Attacks over HTTP: what a model writes arrives contained, streamed and whole."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from api.app import create_app
from api.dependencies import Live
from ingest.pipeline import Ingestor
from rag.answering import Answerer
from rag.draft import MARK
from rag.settings import Settings, load_settings
from tests.fakes import ScriptedChatModel, fake_engine
from tests.inert import PAYLOADS, alive
from tests.live import serving

TEXT = "Trains are booked in second class. Flights need the consent of a manager.\n"
CHOSEN = ["inline image", "reference link", "autolink", "script", "www", "mermaid", "terminal link", "zero width"]


@contextmanager
def served(tmp_path: Path, *script: str) -> Iterator[str]:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "travel.txt").write_text(TEXT)

    @asynccontextmanager
    async def opening(settings: Settings) -> AsyncIterator[Live]:
        with fake_engine(tmp_path / "data") as engine:
            await Ingestor(engine).run([tmp_path / "docs"], "default")
            answerer = Answerer(engine.retriever, ScriptedChatModel(*script), settings.chat)
            yield Live(engine, answerer)

    with serving(create_app(load_settings({}), opening)) as url:
        yield url


def content(reply: httpx.Response) -> tuple[str, list[dict[str, Any]]]:
    """Text and citations of a reply, streamed or not."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        body = reply.json()
        return body["choices"][0]["message"]["content"], body["citations"]
    frames = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    assert frames[-1] == "[DONE]"
    chunks = [json.loads(frame) for frame in frames[:-1]]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    return text, next(chunk["citations"] for chunk in chunks if "citations" in chunk)


def test_payloads_arrive_contained(tmp_path: Path) -> None:
    said = "Trains are booked in second class.\n\n" + "\n\n".join(PAYLOADS[name] for name in CHOSEN) + "\n\n[99] Done."
    assert alive(said)
    body = {"model": "quoth/default", "messages": [{"role": "user", "content": "Which class are trains booked in?"}]}
    with served(tmp_path, *said) as url:
        replies = [
            httpx.post(f"{url}/v1/chat/completions", json={**body, "stream": stream}) for stream in (False, True)
        ]
    for reply in replies:
        text, citations = content(reply)
        assert alive(text) == []
        assert text.startswith("Trains are booked in second class.")
        assert text.removesuffix(MARK).endswith("Done.")
        assert "[99]" not in text
        assert [citation["quote"] for citation in citations] == ["Trains are booked in second class."]
    assert content(replies[0]) == content(replies[1])
