"""Local models beyond the contract: files that do not fit, prompts too long, work that ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from rag.backends.chat.local import open_local
from rag.conversation import Message
from rag.errors import ConfigurationError, InvalidInputError, ModelNotFoundError
from rag.protocols import Prompt, Sampling
from rag.settings import ChatSettings, load_settings
from tests.tiny_llama import save_tiny_llama

SMOLLM = "HuggingFaceTB/SmolLM2-135M-Instruct"
LONG = Prompt((Message("user", "word " * 5000),), "", ())
SHORT = Prompt((Message("user", "Count to one hundred."),), "", ())


def settings(model: object, context_tokens: int = 8192) -> ChatSettings:
    return ChatSettings(model=f"local:{model}", context_tokens=context_tokens, temperature=0)


def test_a_folder_without_weights_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="neither"):
        asyncio.run(open_local(settings(tmp_path), tmp_path))


def test_a_name_that_is_not_here_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="quoth models pull"):
        asyncio.run(open_local(settings("not-a-hub-name"), tmp_path))


def test_a_damaged_gguf_is_a_wrong_setting(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(1000))
    with pytest.raises(ConfigurationError, match=r"model\.gguf"):
        asyncio.run(open_local(settings(file), tmp_path))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.mark.slow
def test_transformers_caps_the_context_and_refuses_more(tiny: Path) -> None:
    async def run() -> int:
        model = await open_local(settings(tiny), tiny)
        with pytest.raises(InvalidInputError, match="4096"):
            await anext(model.stream(LONG, Sampling()))
        return model.context_tokens

    assert asyncio.run(run()) == 4096


@pytest.mark.slow
def test_transformers_stops_generating_when_the_listener_leaves(tiny: Path) -> None:
    """aclose returns only when the thread has ended; 4,000 tokens would take far longer than the run's time limit."""

    async def run() -> None:
        model = await open_local(settings(tiny), tiny)
        stream = model.stream(SHORT, Sampling(max_tokens=4000))
        await anext(stream)
        async with asyncio.timeout(2):
            await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())


@pytest.mark.slow
def test_transformers_samples_and_stops_at_a_string(tiny: Path) -> None:
    async def run(sampling: Sampling) -> str:
        model = await open_local(settings(tiny), tiny)
        deltas = [delta async for delta in model.stream(SHORT, sampling)]
        assert deltas[-1].finish_reason == ("stop" if sampling.stop else "length")
        return "".join(delta.text for delta in deltas)

    whole = asyncio.run(run(Sampling(max_tokens=40)))
    stop = whole[len(whole) // 2 :][:3]
    assert asyncio.run(run(Sampling(max_tokens=40, stop=(stop,)))) == whole[: whole.index(stop)]
    assert asyncio.run(run(Sampling(max_tokens=40, temperature=1.5, top_p=0.9))) != whole


@pytest.mark.slow
def test_transformers_wants_a_chat_template(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="chat template"):
        asyncio.run(open_local(settings(save_tiny_llama(tmp_path, has_template=False)), tmp_path))


@pytest.mark.slow
def test_damaged_safetensors_are_a_wrong_setting(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ConfigurationError, match="cannot load"):
        asyncio.run(open_local(settings(tmp_path), tmp_path))


def smollm() -> ChatSettings:
    if not list((load_settings().models_dir / SMOLLM).glob("*.gguf")):
        pytest.skip(f"the model is not here; `quoth models pull {SMOLLM}` gets it")
    return settings(SMOLLM, 1024)


@pytest.mark.slow
def test_llama_cpp_refuses_a_prompt_beyond_its_context() -> None:
    async def run() -> None:
        model = await open_local(smollm(), load_settings().models_dir)
        try:
            with pytest.raises(InvalidInputError, match="1024"):
                await anext(model.stream(LONG, Sampling()))
        finally:
            await model.close()

    asyncio.run(run())


@pytest.mark.slow
def test_llama_cpp_caps_the_context_at_what_the_model_was_trained_with() -> None:
    async def run() -> int:
        chosen = smollm().model_copy(update={"context_tokens": 16384})
        model = await open_local(chosen, load_settings().models_dir)
        try:
            return model.context_tokens
        finally:
            await model.close()

    assert asyncio.run(run()) == 8192


@pytest.mark.slow
def test_llama_cpp_frees_its_slots_when_listeners_leave() -> None:
    """More streams are left than there are slots; the next one would wait for them to write 900 tokens each."""

    async def run() -> str:
        model = await open_local(smollm(), load_settings().models_dir)
        try:
            for _ in range(6):
                stream = model.stream(SHORT, Sampling(max_tokens=900))
                await anext(stream)
                await stream.aclose()  # type: ignore[attr-defined]
            async with asyncio.timeout(5):
                return "".join([delta.text async for delta in model.stream(SHORT, Sampling(max_tokens=8))])
        finally:
            await model.close()

    assert asyncio.run(run())


@pytest.mark.slow
def test_llama_cpp_answers_nobody_without_its_key() -> None:
    async def run() -> int:
        model = await open_local(smollm(), load_settings().models_dir)
        try:
            async with httpx.AsyncClient(base_url=str(model._http.base_url)) as stranger:  # type: ignore[attr-defined]
                return (await stranger.post("/tokenize", json={"content": "x"})).status_code
        finally:
            await model.close()

    assert asyncio.run(run()) == 401


@pytest.mark.slow
def test_llama_cpp_answers_more_requests_than_its_server_takes_on_one_connection() -> None:
    async def run() -> int:
        model = await open_local(smollm(), load_settings().models_dir)
        try:
            for _ in range(130):
                assert model.count_tokens("word") == 1
                assert [delta async for delta in model.stream(SHORT, Sampling(max_tokens=1))]
            return 130
        finally:
            await model.close()

    assert asyncio.run(run()) == 130
