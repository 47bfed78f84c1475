"""Each fault of a chat server is one documented error, streamed or not, and its conversation says how it ended."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.backends.chat.langchain import LangChainChatModel, make_client
from rag.errors import ConfigurationError
from rag.protocols import ModelDelta, Prompt, Sampling
from rag.settings import ChatSettings
from tests.served import Served, serving_stores
from tests.stub_openai import StubServer, stub_server
from tests.upstream_faults import FAULTS, SILENT, UNKNOWN_HOST, Fault

KEY = "sk-secret-12345678"
TEXT = "The term is 30 days. Notice is given in writing.\n"
ASKED = {"model": "quoth/default", "messages": [{"role": "user", "content": "How long is the term?"}]}
RETRIES = 1


class LentChatModel:
    """Passes on to the model that a test lends it."""

    name = "lent"
    context_tokens = 8192

    def __init__(self) -> None:
        self.settings: ChatSettings | None = None

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
        if self.settings is None:
            raise ConfigurationError("No model was lent.")
        model = LangChainChatModel(
            self.settings, make_client(self.settings), self.count_tokens, first_backoff_seconds=0.01
        )
        try:
            deltas = model.stream(prompt, sampling)
            try:
                async for delta in deltas:
                    yield delta
            finally:
                await deltas.aclose()
        finally:
            await model.close()

    async def close(self) -> None:
        """Nothing is held."""


MODEL = LentChatModel()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving_stores(tmp_path_factory.mktemp("faults"), MODEL, {"default": {"contract.txt": TEXT}}) as served:
        yield served


def lend(server: StubServer, mode: str) -> None:
    base = {"plain": server.url.replace("http", "https"), "unknown-host": UNKNOWN_HOST}.get(mode, server.url)
    seconds = 1.5 if mode == "stall" else 0.3 if mode in SILENT else 20
    MODEL.settings = ChatSettings.model_validate(
        {"model": "openai:m", "base_url": f"{base}/v1", "api_key": KEY, "timeout_seconds": seconds,
         "max_retries": RETRIES}
    )  # fmt: skip


def asked(served: Served, stream: bool) -> httpx.Response:
    return httpx.post(
        f"{served.url}/v1/chat/completions", json={**ASKED, "stream": stream, "conversation": "new"}, timeout=60
    )


def kept(served: Served) -> tuple[dict[str, Any], dict[str, Any]]:
    """Question and answer of the latest conversation."""
    listed = httpx.get(f"{served.url}/v1/conversations").json()["data"]
    question, answer = httpx.get(f"{served.url}/v1/conversations/{listed[0]['id']}").json()["messages"]["data"]
    return question, answer


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.mode)
def test_a_fault_is_one_error(served: Served, fault: Fault, stream: bool) -> None:
    with stub_server(fault.mode) as server:
        lend(server, fault.mode)
        if fault.mode != "refused":
            reply = asked(served, stream)
    if fault.mode == "refused":  # nobody listens any more
        reply = asked(served, stream)
    has_begun = stream and fault.kept != "failed"
    assert reply.status_code == (200 if has_begun else fault.status)
    frames = [frame for frame in reply.text.split("\n\n") if frame] if has_begun else [reply.text]
    ends = [frame for frame in frames if frame == "data: [DONE]" or '"error":{' in frame]
    if fault.code:
        assert ends == frames[-1:]
        error = json.loads(frames[-1].removeprefix("data: "))["error"]
        assert (error["code"], bool(error["message"])) == (fault.code, True)
    else:
        assert ends == (["data: [DONE]"] if stream else [])
    if fault.mode not in ("refused", "unknown-host"):
        assert server.connections == (1 + RETRIES if fault.is_retried else 1)
    question, answer = kept(served)
    assert (question["status"], answer["status"]) == ("complete", fault.kept)
    assert "secret" not in reply.text
    if fault.kept == "complete":
        assert answer["content"].startswith("The term is 30 days.")
        assert answer["usage"]["completion_tokens"] > 0
    elif fault.kept == "incomplete":
        assert "The term is 30 days.".startswith(answer["content"] if fault.mode != "more" else answer["content"][:8])
        assert answer["finish_reason"] is None
    else:
        assert answer["content"] == ""


def test_the_ending_length_is_told(served: Served) -> None:
    with stub_server("length") as server:
        lend(server, "length")
        assert asked(served, False).json()["choices"][0]["finish_reason"] == "length"
        assert kept(served)[1]["finish_reason"] == "length"


def test_words_behind_the_ending_are_part_of_the_answer(served: Served) -> None:
    with stub_server("behind-end") as server:
        lend(server, "behind-end")
        assert "Yes." in asked(served, False).json()["choices"][0]["message"]["content"]


def test_the_table_in_the_manual_is_this_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (\d+)(?: `(\w+)`)? \| (yes|no) \| (\w+) \|$", text, re.MULTILINE)
    assert {
        name: (int(status), code or None, retried == "yes", kept) for name, status, code, retried, kept in rows
    } == {name: (fault.status, fault.code, fault.is_retried, fault.kept) for name, fault in FAULTS.items()}
