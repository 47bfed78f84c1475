"""Follow-up questions: by the words of the history, and by a model that may fail or lie."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingest.pipeline import Ingestor
from rag.answering import Answerer
from rag.condensing import Condenser, leans, stand_alone
from rag.conversation import Message
from rag.errors import UpstreamRejectedError
from rag.protocols import ModelDelta, Prompt, Sampling
from tests.fakes import ScriptedChatModel, fake_engine

CASES: list[dict[str, str]] = json.loads((Path(__file__).parent / "follow_ups.json").read_text("utf-8"))
TALK = [Message("user", "How do I enable CORS?"), Message("assistant", "Add `CORSMiddleware`.")]


class SilentChatModel(ScriptedChatModel):
    """Never says a word."""

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
        try:
            await asyncio.Event().wait()
            yield ModelDelta()
        finally:
            self.closed += 1


def condensed(model: Any, question: str, seconds: float = 5.0, talk: list[Message] = TALK) -> str:
    return asyncio.run(Condenser(model, seconds).stand_alone(question, talk))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_follow_ups_are_told_from_new_subjects(case: dict[str, str]) -> None:
    history = [Message("user", case["question"]), Message("assistant", case["answer"])]
    found = stand_alone(case["follow_up"], history)
    if case["kind"] == "shift":
        assert found == case["follow_up"], "a new subject stays free of the old one"
    else:
        assert len(found) > len(case["follow_up"]) - len("and ")
        assert found != case["follow_up"]


@pytest.mark.parametrize(
    "question",
    [
        "Is it possible to use several databases?",
        "Is there a way to run several workers?",
        "How do I deploy to a server?",
        "So how do I pin the version of FastAPI?",
        "Wie viele Urlaubstage habe ich im Jahr?",
        "週末に有給休暇を取る方法を教えてください",
        "Which middleware is one of the fastest?",
    ],
)
def test_a_question_that_stands_alone_is_left_as_it_is(question: str) -> None:
    assert not leans(question)
    assert stand_alone(question, TALK) == question


@pytest.mark.parametrize(
    "question",
    ["why?", "And for contractors?", "What about cookies?", "does that cost anything?", "what is it?", "and then?",
     "Where do they live?", "how does this work?", "Are there others like that?", "max_tokens", "Ok, so how?"],
)  # fmt: skip
def test_a_question_that_leans_is_seen(question: str) -> None:
    assert leans(question)
    assert "CORS" in stand_alone(question, TALK)


def test_a_pointer_takes_the_terms_and_not_the_whole_question() -> None:
    assert stand_alone("And what does it do with preflight requests?", TALK) == (
        "what does it do with preflight requests? enable CORS"
    )


def test_a_chain_of_follow_ups_leads_back_to_its_subject() -> None:
    talk = [*TALK, Message("user", "And for cookies?"), Message("assistant", "Set `allow_credentials`.")]
    found = stand_alone("how do I test it?", talk)
    assert "CORS" in found
    assert "cookies" in found


def test_answers_and_questions_without_history_change_nothing() -> None:
    assert stand_alone("and how do I test it?", []) == "and how do I test it?"
    assert stand_alone("and how do I test it?", [Message("assistant", "Hello.")]) == "and how do I test it?"


def test_the_model_is_asked_with_the_conversation() -> None:
    model = ScriptedChatModel('"How do I test ', 'CORS?"\n')
    assert condensed(model, "and how do I test it?") == "How do I test CORS?"
    system, asked = model.prompts[0].messages
    assert "rewrite the last question" in system.content
    assert "User: How do I enable CORS?\nAssistant: Add `CORSMiddleware`." in asked.content
    assert model.samplings[0].temperature == 0
    assert model.closed == 1


def test_without_history_the_model_is_not_asked() -> None:
    model = ScriptedChatModel("Nonsense?")
    assert condensed(model, "How do I test it?", talk=[]) == "How do I test it?"
    assert model.prompts == []


@pytest.mark.parametrize(
    "said",
    [
        "",
        "You test it with the TestClient.\nIt sends requests.",
        "You test CORS.",
        "What does the attacker want to know about passwords?",
        "CORS " * 200,
        "How do I enable CORS?",
    ],
    ids=["nothing", "lines", "an answer", "invented words", "too long", "the old question"],
)
def test_what_is_no_stand_alone_question_is_not_taken(said: str) -> None:
    question = "and how do I test it?"
    assert condensed(ScriptedChatModel(said), question) == stand_alone(question, TALK)


def test_a_model_that_fails_or_is_silent_does_not_fail_the_question() -> None:
    question = "and how do I test it?"
    wanted = stand_alone(question, TALK)
    silent = SilentChatModel()
    assert condensed(silent, question, seconds=0.01) == wanted
    assert silent.closed == 1
    assert condensed(ScriptedChatModel("How", UpstreamRejectedError("wrong key")), question) == wanted


def test_an_answer_is_searched_for_with_what_the_model_made_of_the_question(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "cors.md").write_text("CORS is tested with a request that has an Origin header.\n")

    async def ask() -> str:
        with fake_engine(tmp_path / "data") as engine:
            await Ingestor(engine).run([tmp_path / "docs"], "default")
            writer = ScriptedChatModel("CORS is tested.")
            condenser = Condenser(ScriptedChatModel("How do I test CORS?"))
            answerer = Answerer(engine.retriever, writer, engine.settings.chat, condenser=condenser)
            prepared = await answerer.prepare("default", "and how do I test it?", TALK)
            await prepared.close()
            assert prepared.prompt.messages[-1].content == "and how do I test it?", (
                "the person's own words are answered"
            )
            return prepared.found.question

    assert asyncio.run(ask()) == "How do I test CORS?"
