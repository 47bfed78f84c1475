"""An answer is a stream of events: cited sentence by sentence, and ended exactly once."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.pipeline import Ingestor
from rag.answering import Answerer
from rag.assembly import Engine
from rag.conversation import Message
from rag.documents import Locator
from rag.errors import InvalidInputError, StoreNotFoundError, UpstreamRejectedError, UpstreamUnavailableError
from rag.events import Answerable, AnswerCompleted, AnswerFailed, CitationAdded, Event, SourcesFound, TextDelta
from rag.protocols import Sampling
from rag.refusal import NO_ANSWER
from rag.searching import SearchResult
from tests.fakes import ScriptedChatModel, fake_engine

HANDBOOK = """# Handbook

## Leave

Every employee has 28 days of paid leave a year. Unused days expire on 31 March.

## Travel

Trains are booked in second class. Flights need the consent of a manager.
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "handbook.md").write_text(HANDBOOK)
    with fake_engine(tmp_path / "data") as engine:
        asyncio.run(Ingestor(engine).run([tmp_path / "docs"], "default"))
        yield engine


def answer(engine: Engine, model: ScriptedChatModel, question: str = "How many days of leave?") -> list[Event]:
    async def collect() -> list[Event]:
        answerer = Answerer(engine.retriever, model, engine.settings.chat)
        prepared = await answerer.prepare("default", question)
        return [event async for event in answerer.stream(prepared)]

    return asyncio.run(collect())


def test_each_sentence_is_cited_where_it_stands(engine: Engine, tmp_path: Path) -> None:
    events = answer(
        engine, ScriptedChatModel("Every employee has 28 days of ", "paid leave a year. Nobody", " knows why.")
    )
    assert isinstance(events[0], SourcesFound)
    (citation,) = [event.citation for event in events if isinstance(event, CitationAdded)]
    done = events[-1]
    assert isinstance(done, AnswerCompleted)
    assert done.text[citation.answer_start : citation.answer_end] == "Every employee has 28 days of paid leave a year."
    assert citation.quote == "Every employee has 28 days of paid leave a year."
    assert HANDBOOK[citation.char_start : citation.char_end] == citation.quote
    assert (citation.verdict, citation.support) == ("quoted", 1.0)
    assert citation.uri == (tmp_path / "docs" / "handbook.md").as_uri()
    assert citation.headings == ("Handbook", "Leave")
    assert citation.locator == Locator(lines=(5, 5))
    assert done.citations == (citation,)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 130), max_size=8))
def test_pieces_of_the_stream_do_not_change_the_answer(
    cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    said = (
        "Unused days expire on 31 March. Trains are booked in second class.\n\nFlights need the consent of a manager."
    )
    edges = [0, *sorted(min(cut, len(said)) for cut in cuts), len(said)]
    pieces = [said[a:b] for a, b in itertools.pairwise(edges)]
    folder = tmp_path_factory.mktemp("docs")
    (folder / "handbook.md").write_text(HANDBOOK)
    with fake_engine(tmp_path_factory.mktemp("data")) as engine:
        asyncio.run(Ingestor(engine).run([folder], "default"))
        events = answer(engine, ScriptedChatModel(*pieces))
    done = events[-1]
    assert isinstance(done, AnswerCompleted)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == done.text == said
    assert [said[c.answer_start : c.answer_end] for c in done.citations] == [c.quote for c in done.citations]
    assert len(done.citations) == 3
    shown = ""
    for event in events:
        if isinstance(event, TextDelta):
            shown += event.text
        elif isinstance(event, CitationAdded):
            assert len(shown) == event.citation.answer_end, "a citation comes right behind its sentence"


def test_changed_figures_and_inventions_are_not_cited(engine: Engine) -> None:
    done = answer(
        engine, ScriptedChatModel("Every employee has 35 days of paid leave a year. The moon is made of cheese.")
    )[-1]
    assert isinstance(done, AnswerCompleted)
    assert done.citations == ()
    assert [(each.verdict, each.support) for each in done.sentences] == [("unsupported", 0.0)] * 2
    assert done.text.count("‹unsupported›") == 2


def test_a_paraphrase_is_supported_by_the_sentence_it_rests_on(engine: Engine) -> None:
    done = answer(engine, ScriptedChatModel("A year, an employee has 28 paid days of leave."))[-1]
    assert isinstance(done, AnswerCompleted)
    (citation,) = done.citations
    assert citation.verdict == "supported"
    assert citation.quote == "Every employee has 28 days of paid leave a year."


def test_failure_before_the_first_character_is_raised(engine: Engine) -> None:
    model = ScriptedChatModel(UpstreamRejectedError("wrong key"))
    with pytest.raises(UpstreamRejectedError, match="wrong key"):
        answer(engine, model)
    assert model.closed == 1


@pytest.mark.parametrize("error", [UpstreamUnavailableError("gone"), RuntimeError("surprise")])
def test_failure_after_it_is_the_one_terminal_event(engine: Engine, error: Exception) -> None:
    events = answer(engine, ScriptedChatModel("Every employee", error))
    failed = events[-1]
    assert isinstance(failed, AnswerFailed)
    assert failed.text == "Every employee"
    assert sum(isinstance(event, AnswerFailed | AnswerCompleted) for event in events) == 1


def test_an_answer_without_a_finish_is_not_whole(engine: Engine) -> None:
    events = answer(engine, ScriptedChatModel("Every employee", finish=False))
    assert isinstance(events[-1], AnswerFailed)
    assert "cut off" in str(events[-1].error)


def test_leaving_stops_the_model(engine: Engine) -> None:
    model = ScriptedChatModel("Every employee ", "has 28 ", "days.")

    async def leave() -> None:
        answerer = Answerer(engine.retriever, model, engine.settings.chat)
        events = answerer.stream(await answerer.prepare("default", "leave?"))
        await anext(events)
        await events.aclose()

    asyncio.run(leave())
    assert model.closed == 1


def test_an_empty_store_is_not_asked_about(engine: Engine) -> None:
    asyncio.run(engine.open_store("empty"))
    model = ScriptedChatModel("I make things up.")

    async def ask() -> Event:
        answerer = Answerer(engine.retriever, model, engine.settings.chat)
        return [event async for event in answerer.stream(await answerer.prepare("empty", "Anything?"))][-1]

    done = asyncio.run(ask())
    assert isinstance(done, AnswerCompleted)
    assert (done.text, done.citations, model.prompts) == (f"{NO_ANSWER} I looked for “Anything?”.", (), [])
    assert done.is_refusal


def test_bad_questions_and_stores_are_refused(engine: Engine) -> None:
    answerer = Answerer(engine.retriever, ScriptedChatModel("x"), engine.settings.chat)
    with pytest.raises(InvalidInputError, match="empty"):
        asyncio.run(answerer.prepare("default", "  \n"))
    with pytest.raises(InvalidInputError, match="limit"):
        asyncio.run(answerer.prepare("default", "x" * 200_000))
    with pytest.raises(InvalidInputError, match="does not fit"):
        asyncio.run(answerer.prepare("default", "why " * 4000))
    with pytest.raises(StoreNotFoundError):
        asyncio.run(answerer.prepare("nope", "Anything?"))


def test_a_follow_up_is_searched_with_what_it_leans_on(engine: Engine) -> None:
    model = ScriptedChatModel("Trains are booked in second class.")
    history = [Message("user", "Which class are trains booked in?"), Message("assistant", "Second class.")]

    async def ask() -> list[Event]:
        answerer = Answerer(engine.retriever, model, engine.settings.chat)
        return [
            event async for event in answerer.stream(await answerer.prepare("default", "And who says so?", history))
        ]

    sources = asyncio.run(ask())[0]
    assert isinstance(sources, SourcesFound)
    assert "trains" in sources.question
    assert "second class" in sources.hits[0].chunk.text
    roles = [message.role for message in model.prompts[0].messages]
    assert roles == ["system", "user", "assistant", "user"]


def test_the_configured_ceiling_bounds_what_a_client_asks_for(engine: Engine) -> None:
    model = ScriptedChatModel("Yes.")

    async def ask() -> None:
        answerer = Answerer(engine.retriever, model, engine.settings.chat)
        prepared = await answerer.prepare("default", "Leave?", sampling=Sampling(max_tokens=100_000))
        await prepared.close()

    asyncio.run(ask())
    assert model.samplings[0].max_tokens == engine.settings.chat.max_answer_tokens
    assert model.samplings[0].temperature == 0


NONSENSE = "The moon is made of cheese. Nobody knows why."


def strictly(engine: Engine, model: ScriptedChatModel, floor: ScriptedChatModel) -> list[Event]:
    chat = engine.settings.chat.model_copy(update={"grounding": "strict", "price_in": 2.0, "price_out": 10.0})

    async def collect() -> list[Event]:
        answerer = Answerer(engine.retriever, model, chat, floor=floor)
        prepared = await answerer.prepare("default", "How many days of leave?")
        return [event async for event in answerer.stream(prepared)]

    return asyncio.run(collect())


def test_where_strict_leaves_nothing_the_best_quotes_are_the_answer(engine: Engine) -> None:
    quote = "Unused days expire on 31 March."
    events = strictly(engine, ScriptedChatModel(NONSENSE), ScriptedChatModel(quote))
    done = events[-1]
    assert isinstance(done, AnswerCompleted)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == done.text == quote
    assert [citation.verdict for citation in done.citations] == ["quoted"]
    assert done.usage.cost == pytest.approx((2 * done.usage.prompt_tokens + 10 * done.usage.completion_tokens) / 1e6)


def test_nothing_stands_in_for_a_model_that_was_cut_off(engine: Engine) -> None:
    floor = ScriptedChatModel("Unused days expire on 31 March.")
    events = strictly(engine, ScriptedChatModel(NONSENSE, finish=False), floor)
    assert isinstance(events[-1], AnswerFailed)
    assert isinstance(events[-1].error, UpstreamUnavailableError)
    assert [event for event in events if isinstance(event, TextDelta)] == []
    assert floor.prompts == []


def test_a_question_that_is_judged_unanswerable_is_not_asked(engine: Engine) -> None:
    model = ScriptedChatModel("Unused days expire on 31 March.")

    async def ask(probability: float) -> list[Event]:
        async def judge(found: SearchResult) -> Answerable:
            assert found.hits
            return Answerable(probability, 0.5)

        answerer = Answerer(engine.retriever, model, engine.settings.chat, judge=judge)
        prepared = await answerer.prepare("default", "How many days of leave?")
        return [event async for event in answerer.stream(prepared)]

    refused, answered = asyncio.run(ask(0.49)), asyncio.run(ask(0.5))
    assert isinstance(refused[0], SourcesFound)
    assert refused[0].answerable == Answerable(0.49, 0.5)
    done = refused[-1]
    assert isinstance(done, AnswerCompleted)
    assert done.is_refusal
    assert done.text.startswith(NO_ANSWER)
    assert "The nearest passages are in: Handbook." in done.text
    assert (done.citations, len(model.prompts)) == ((), 1)
    assert isinstance(answered[-1], AnswerCompleted)
    assert not answered[-1].is_refusal
