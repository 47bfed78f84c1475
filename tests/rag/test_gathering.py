"""A model's deltas, gathered: nothing lost, nothing late for a slow model, its end and its failure passed on."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from rag.errors import UpstreamUnavailableError
from rag.events import Usage
from rag.gathering import MOST_CHARACTERS, GatheringChatModel
from rag.protocols import ModelDelta, Prompt, Sampling
from tests.fakes import ScriptedChatModel

PROMPT = Prompt(messages=(), hits=(), question="")
USAGE = Usage(3, 4)


class SteadyModel(ScriptedChatModel):
    """Writes words with a pause behind each, and tells its usage at the end."""

    def __init__(self, words: int, pause: float) -> None:
        super().__init__()
        self.words, self.pause, self.written = words, pause, 0

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
        try:
            for number in range(self.words):
                yield ModelDelta(text=f"{number} ")
                self.written += 1
                await asyncio.sleep(self.pause)
            yield ModelDelta(finish_reason="stop", usage=USAGE)
        finally:
            self.closed += 1


def expected(words: int) -> str:
    return "".join(f"{number} " for number in range(words))


async def all_of(model: ScriptedChatModel) -> list[ModelDelta]:
    return [delta async for delta in GatheringChatModel(model).stream(PROMPT, Sampling())]


@pytest.mark.parametrize(("words", "pause"), [(0, 0.0), (1, 0.0), (3000, 0.0), (20, 0.001)])
def test_what_was_written_comes_whole(words: int, pause: float) -> None:
    model = SteadyModel(words, pause)
    deltas = asyncio.run(all_of(model))
    assert "".join(delta.text for delta in deltas) == expected(words)
    assert (deltas[-1].finish_reason, deltas[-1].usage) == ("stop", USAGE)
    assert model.closed == 1
    assert len(deltas) <= max(2, words // 2)


def test_a_slow_model_is_passed_on_word_by_word() -> None:
    async def drive() -> list[str]:
        more, model = asyncio.Event(), ScriptedChatModel()

        async def stream(prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
            for number in range(4):
                yield ModelDelta(text=str(number))
                await more.wait()
                more.clear()

        model.stream = stream  # type: ignore[method-assign]
        seen = []
        async for delta in GatheringChatModel(model).stream(PROMPT, Sampling()):
            seen.append(delta.text)
            more.set()
        return seen

    assert asyncio.run(drive()) == ["0", "1", "2", "3"]


def test_words_that_come_soon_after_the_first_are_joined() -> None:
    deltas = asyncio.run(all_of(SteadyModel(1000, 0.0)))
    assert deltas[0].text == "0 "
    assert len(deltas) < 50


def test_a_failure_comes_behind_what_was_written() -> None:
    async def drive() -> list[str]:
        seen: list[str] = []
        model = ScriptedChatModel("One ", "two ", UpstreamUnavailableError("gone"))
        with pytest.raises(UpstreamUnavailableError, match="gone"):
            async for delta in GatheringChatModel(model).stream(PROMPT, Sampling()):
                seen.append(delta.text)
        return seen

    assert "".join(asyncio.run(drive())) == "One two "


def test_who_closes_it_stops_the_model_at_once() -> None:
    async def drive() -> SteadyModel:
        model = SteadyModel(1000, 0.001)
        stream = GatheringChatModel(model).stream(PROMPT, Sampling())
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        assert len(asyncio.all_tasks()) == 1
        return model

    model = asyncio.run(drive())
    assert model.closed == 1
    assert model.written < 1000


def test_a_model_waits_for_a_reader_that_is_slower() -> None:
    async def drive() -> int:
        model = SteadyModel(100_000, 0)
        stream = GatheringChatModel(model).stream(PROMPT, Sampling())
        await anext(stream)
        for _ in range(20_000):
            await asyncio.sleep(0)
        await stream.aclose()  # type: ignore[attr-defined]
        assert model.closed == 1
        return len(expected(model.written))

    assert asyncio.run(drive()) <= 2 * MOST_CHARACTERS


def test_it_is_the_other_in_all_else() -> None:
    other = ScriptedChatModel()
    model = GatheringChatModel(other)
    assert (model.name, model.context_tokens, model.count_tokens("a b")) == (other.name, other.context_tokens, 2)
    asyncio.run(model.close())
