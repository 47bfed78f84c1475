"""A hosted model that fails in every way it can, in two dialects."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from rag.backends.chat.langchain import LangChainChatModel, create, make_client
from rag.conversation import Message
from rag.errors import (
    ConfigurationError,
    InvalidInputError,
    MissingPackageError,
    QuothError,
    UpstreamRejectedError,
    UpstreamUnavailableError,
)
from rag.events import Usage
from rag.protocols import ModelDelta, Prompt, Sampling
from rag.settings import ChatSettings
from tests.stub_openai import StubServer, stub_server

KEY = "sk-secret-12345678"
ANSWER = "The term is 30 days."
PROMPT = Prompt((Message("system", "Be brief."), Message("user", "One?"), Message("user", "Two?")), "Two?", ())


@dataclass
class Outcome:
    text: str
    last: ModelDelta | None
    error: QuothError | None


def ask(server: StubServer, sampling: Sampling | None = None, provider: str = "openai", **options: object) -> Outcome:
    settings = ChatSettings.model_validate(
        {"model": f"{provider}:m", "base_url": server.url + ("/v1" if provider == "openai" else ""), "api_key": KEY,
         "timeout_seconds": 5, **options}
    )  # fmt: skip
    model = LangChainChatModel(settings, make_client(settings), len, first_backoff_seconds=0.01)
    return asyncio.run(_ask(model, sampling or Sampling()))


async def _ask(model: LangChainChatModel, sampling: Sampling) -> Outcome:
    deltas: list[ModelDelta] = []
    error = None
    try:
        async for delta in model.stream(PROMPT, sampling):
            deltas.append(delta)
    except QuothError as raised:
        error = raised
    finally:
        await model.close()
    return Outcome("".join(delta.text for delta in deltas), deltas[-1] if deltas else None, error)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_normal_answer(provider: str) -> None:
    with stub_server() as server:
        found = ask(server, Sampling(max_tokens=50, temperature=0.5, top_p=0.9, stop=("END",)), provider)
        request = server.requests[0]
    assert found == Outcome(ANSWER, ModelDelta(finish_reason="stop", usage=Usage(11, 6)), None)
    assert (request["temperature"], request["top_p"]) == (0.5, 0.9)
    assert request.get("stop") == ["END"] or request.get("stop_sequences") == ["END"]
    assert request["max_tokens"] == 50
    assert request["messages"][-1]["content"] == "One?\n\nTwo?"


REJECTED = {
    "401": "QUOTH_CHAT__API_KEY",
    "404": "QUOTH_CHAT__MODEL",
    "429-quota": "quota",
    "400-image": "HTTP 400",
    "content-filter": "content filter",
}
UNAVAILABLE = {
    "500": "HTTP 500",
    "503": "HTTP 503",
    "429": "HTTP 429",
    "429-long": "HTTP 429",
    "cut": "",
    "garbage": "",
    "error-event": "overloaded",
    "no-finish": "cut off",
    "empty": "",
    "html": "QUOTH_CHAT__BASE_URL",
    "stall": "QUOTH_CHAT__TIMEOUT_SECONDS",
    "never": "QUOTH_CHAT__TIMEOUT_SECONDS",
    "keep-alives": "QUOTH_CHAT__TIMEOUT_SECONDS",
}
SILENT = {"stall", "never", "keep-alives"}
ONLY_OPENAI = {"garbage", "empty", "stall", "keep-alives"}
CASES = [
    (provider, mode)
    for provider in ("openai", "anthropic")
    for mode in (*REJECTED, *UNAVAILABLE)
    if provider == "openai" or mode not in ONLY_OPENAI
]


@pytest.mark.parametrize(("provider", "mode"), CASES)
def test_each_failure_has_its_error(provider: str, mode: str) -> None:
    with stub_server(mode) as server:
        timeout = 0.3 if mode in SILENT else 5
        found = ask(server, provider=provider, timeout_seconds=timeout, max_retries=0)
    assert found.last is None or found.last.finish_reason is None
    assert type(found.error) is (UpstreamRejectedError if mode in REJECTED else UpstreamUnavailableError)
    assert {**REJECTED, **UNAVAILABLE}[mode].casefold() in str(found.error).casefold()
    assert KEY not in str(found.error)
    assert found.text in ANSWER


def test_a_prompt_that_is_too_long_is_the_callers_to_mend() -> None:
    with stub_server("400-too-long") as server:
        assert isinstance(ask(server).error, InvalidInputError)


def test_nobody_listening() -> None:
    with stub_server() as server:
        pass
    found = ask(server, max_retries=0)
    assert isinstance(found.error, UpstreamUnavailableError)
    assert "QUOTH_CHAT__BASE_URL" in str(found.error)


@pytest.mark.parametrize("mode", ["429", "500", "503", "empty"])
def test_what_may_pass_is_tried_again_before_the_first_character(mode: str) -> None:
    with stub_server(mode) as server:
        server.failures_left = 2
        found = ask(server, max_retries=2)
        assert (found.text, found.error, len(server.requests)) == (ANSWER, None, 3)


@pytest.mark.parametrize(("mode", "requests"), [("500", 2), ("401", 1), ("429-quota", 1), ("429-long", 1), ("cut", 1)])
def test_tries_end(mode: str, requests: int) -> None:
    with stub_server(mode) as server:
        found = ask(server, max_retries=1)
        assert found.error is not None
        assert len(server.requests) == requests


def test_a_server_that_does_not_know_how_to_count_still_answers() -> None:
    with stub_server("no-stream-options") as server:
        found = ask(server)
        assert found == Outcome(ANSWER, ModelDelta(finish_reason="stop", usage=None), None)
        assert ["stream_options" in request for request in server.requests] == [True, False]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("how", ["close", "cancel"])
def test_a_listener_who_leaves_ends_the_request(provider: str, how: str) -> None:
    with stub_server("endless") as server:
        settings = ChatSettings(
            model=f"{provider}:m", base_url=server.url + ("/v1" if provider == "openai" else ""), api_key=KEY
        )
        model = LangChainChatModel(settings, make_client(settings), len)

        async def run() -> bool:
            stream = model.stream(PROMPT, Sampling(max_tokens=10_000))
            assert (await anext(stream)).text
            if how == "close":
                await stream.aclose()
            else:
                task = asyncio.ensure_future(anext(stream))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            left = await asyncio.to_thread(server.client_left.wait, 1)
            await model.close()
            return left

        assert asyncio.run(run())


def test_a_key_of_the_environment_is_not_sent_to_another_server() -> None:
    with stub_server() as server:
        settings = ChatSettings(model="openai:m", base_url=server.url + "/v1")
        model = LangChainChatModel(settings, make_client(settings), len)
        asyncio.run(_ask(model, Sampling()))
        assert "Bearer none" in server.headers[0]


def test_a_missing_package_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(MissingPackageError, match="pip install langchain-mistralai"):
        make_client(ChatSettings(model="mistralai:m", api_key=KEY))


def test_a_provider_that_nobody_knows_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match="QUOTH_CHAT__MODEL"):
        make_client(ChatSettings(model="nonesuch:m"))


def test_a_missing_key_names_the_setting() -> None:
    with pytest.raises(ConfigurationError, match="QUOTH_CHAT__API_KEY"):
        make_client(ChatSettings(model="openai:gpt-4o-mini"))


def test_create_counts_with_the_tokenizer_of_the_models_folder() -> None:
    from rag.settings import load_settings

    folder = load_settings().models_dir
    if not (folder / "tiktoken").is_dir():
        pytest.skip("tiktoken's ranks are not here; `quoth models pull` gets them")
    model = asyncio.run(create(ChatSettings(model="openai:m", api_key=KEY), folder))
    assert model.count_tokens("hello world") == 2
