"""What every ChatModel keeps: extractive, hosted behind two dialects, transformers, llama.cpp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from rag.conversation import Message
from rag.documents import Chunk, Scores, SearchHit
from rag.protocols import ChatModel, ModelDelta, Prompt, Sampling
from rag.settings import ChatSettings, load_settings
from tests.stub_openai import stub_server
from tests.tiny_llama import save_tiny_llama

SMOLLM = "HuggingFaceTB/SmolLM2-135M-Instruct"

Open = Callable[[], AbstractAsyncContextManager[ChatModel]]


def models_dir() -> Path:
    return load_settings().models_dir


@asynccontextmanager
async def _closing(model: ChatModel) -> AsyncIterator[ChatModel]:
    try:
        yield model
    finally:
        await model.close()


def extractive(_: Path) -> Iterator[Open]:
    from rag.backends.chat.extractive import ExtractiveChatModel

    yield lambda: _closing(ExtractiveChatModel())


def _hosted(provider: str, path: str) -> Callable[[Path], Iterator[Open]]:
    def opened(_: Path) -> Iterator[Open]:
        from rag.backends.chat.langchain import LangChainChatModel, make_client

        with stub_server() as server:
            settings = ChatSettings(model=f"{provider}:m", base_url=server.url + path, api_key="sk-1")

            @asynccontextmanager
            async def one() -> AsyncIterator[ChatModel]:
                async with _closing(LangChainChatModel(settings, make_client(settings), lambda t: len(t.split()))) as m:
                    yield m

            yield one

    return opened


def transformers(folder: Path) -> Iterator[Open]:
    from rag.backends.chat import transformers

    settings = ChatSettings(model=f"local:{save_tiny_llama(folder)}", context_tokens=4096)

    @asynccontextmanager
    async def one() -> AsyncIterator[ChatModel]:
        async with _closing(await transformers.create(settings, folder)) as model:
            yield model

    yield one


def llama_cpp(_: Path) -> Iterator[Open]:
    if not list((models_dir() / SMOLLM).glob("*.gguf")):
        pytest.skip(f"the model is not here; `quoth models pull {SMOLLM}` gets it")
    from rag.backends.chat import llama_cpp

    settings = ChatSettings(model=f"local:{SMOLLM}", context_tokens=1024)

    @asynccontextmanager
    async def one() -> AsyncIterator[ChatModel]:
        async with _closing(await llama_cpp.create(settings, models_dir())) as model:
            yield model

    yield one


BACKENDS = [
    pytest.param(extractive, id="extractive"),
    pytest.param(_hosted("openai", "/v1"), id="openai"),
    pytest.param(_hosted("anthropic", ""), id="anthropic"),
    pytest.param(transformers, id="transformers", marks=pytest.mark.slow),
    pytest.param(llama_cpp, id="llama_cpp", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=BACKENDS)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    yield from request.param(tmp_path_factory.mktemp("model"))


def prompt() -> Prompt:
    text = "The notice period is 30 days. It starts on the first day of a month."
    chunk = Chunk("c", "d", "g", 0, text, 0, len(text))
    hit = SearchHit("s", chunk, "Terms", "terms.md", 1.0, Scores())
    question = "How long is the notice period?"
    system = "Answer from the passage.\n\n" + text
    return Prompt((Message("system", system), Message("user", question)), question, (hit,))


async def _all(model: ChatModel, sampling: Sampling) -> list[ModelDelta]:
    return [delta async for delta in model.stream(prompt(), sampling)]


def test_text_then_exactly_one_ending(opened: Open) -> None:
    async def run() -> list[ModelDelta]:
        async with opened() as model:
            return await _all(model, Sampling(max_tokens=24))

    *texts, last = asyncio.run(run())
    assert "".join(delta.text for delta in texts).strip()
    assert all(delta.finish_reason is None for delta in texts)
    assert last.finish_reason in ("stop", "length")
    assert last.usage is not None
    assert last.usage.prompt_tokens > 0
    assert 0 < last.usage.completion_tokens <= 24


def test_the_limit_of_tokens_holds_and_is_told(opened: Open) -> None:
    async def run() -> ModelDelta:
        async with opened() as model:
            return (await _all(model, Sampling(max_tokens=2)))[-1]

    last = asyncio.run(run())
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert last.usage.completion_tokens == 2


def test_closing_early_leaves_the_model_ready(opened: Open) -> None:
    async def run() -> tuple[ModelDelta, list[ModelDelta]]:
        async with opened() as model:
            stream = model.stream(prompt(), Sampling(max_tokens=400))
            first = await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
            return first, await _all(model, Sampling(max_tokens=8))

    first, after = asyncio.run(run())
    assert first.finish_reason is None
    assert after[-1].finish_reason is not None


def test_two_streams_at_once_do_not_mix(opened: Open) -> None:
    async def run() -> tuple[str, list[str]]:
        async with opened() as model:

            async def answer() -> str:
                return "".join(delta.text for delta in await _all(model, Sampling(max_tokens=12, temperature=0)))

            return await answer(), await asyncio.gather(answer(), answer())

    alone, together = asyncio.run(run())
    assert together == [alone, alone]


def test_tokens_are_counted(opened: Open) -> None:
    async def run() -> tuple[int, int, int, int]:
        async with opened() as model:
            return (
                model.count_tokens(""),
                model.count_tokens("word"),
                model.count_tokens("word " * 50),
                model.context_tokens,
            )

    nothing, one, fifty, context = asyncio.run(run())
    assert nothing == 0
    assert 0 < one < fifty <= 300
    assert context >= 512


def test_the_name_is_the_configured_one(opened: Open) -> None:
    async def run() -> str:
        async with opened() as model:
            return model.name

    name = asyncio.run(run())
    assert name == "extractive" or name.startswith(("openai:m", "anthropic:m", "local:"))
