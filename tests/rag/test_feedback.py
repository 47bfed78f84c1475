"""Feedback in the ledger, and the cases that the evals read from it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from evals.cases import judged_cases, read_own_cases
from evals.stored import read_documents
from ingest.pipeline import Ingestor
from rag.answering import Answerer
from rag.assembly import Engine
from rag.errors import NotFoundError
from rag.ledger.feedback import as_case
from rag.ledger.stores import Stores
from rag.recording import begin_recording
from rag.refusal import NO_ANSWER
from tests.fakes import ScriptedChatModel, fake_engine

TRAVEL = "Trains are booked in second class. Flights need the consent of a manager.\n"
LEAVE = "Every employee has 28 days of paid leave a year.\n"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "travel.txt").write_text(TRAVEL)
    (tmp_path / "docs" / "leave.txt").write_text(LEAVE)
    with fake_engine(tmp_path / "data") as engine:
        asyncio.run(Ingestor(engine).run([tmp_path / "docs"], "default"))
        yield engine


def answered(engine: Engine, question: str, *said: str, conversation: str | None = None) -> tuple[str, str]:
    """Ask in a conversation; the ids of the answer and of the conversation."""

    async def ask() -> tuple[str, str]:
        recorder = await begin_recording(engine, "default", conversation, question)
        answerer = Answerer(engine.retriever, ScriptedChatModel(*said), engine.settings.chat)
        prepared = await recorder.prepared(answerer.prepare("default", question, recorder.history))
        async for _ in recorder.keep(answerer.stream(prepared)):
            pass
        return recorder.answer_id, recorder.conversation_id

    return asyncio.run(ask())


def test_feedback_keeps_what_led_to_the_answer(engine: Engine) -> None:
    _, talk = answered(engine, "Which class are trains booked in?", "Trains are booked in second class.")
    answer, _ = answered(engine, "And who says so?", "Trains are booked in second class.", conversation=talk)
    given = engine.feedback.give(answer, "down", "nobody \ud83d")
    assert list(engine.feedback.all()) == [given]
    assert (given.rating, given.comment, given.conversation_id) == ("down", "nobody \ufffd", talk)
    trace = given.trace
    assert (trace["question"], trace["answer"], trace["model"], trace["status"]) == (
        "And who says so?", "Trains are booked in second class.", "extractive", "complete",
    )  # fmt: skip
    assert "trains" in trace["stand_alone"]
    assert {"chunk_id", "score", "scores", "uri"} == set(trace["sources"][0])
    assert trace["citations"][0]["quote"] == "Trains are booked in second class."


def test_the_latest_rating_counts(engine: Engine) -> None:
    answer, _ = answered(engine, "Which class?", "Trains are booked in second class.")
    engine.feedback.give(answer, "up", "good")
    second = engine.feedback.give(answer, "down")
    assert list(engine.feedback.all()) == [second]


def test_only_answers_of_the_ledger_can_be_rated(engine: Engine) -> None:
    _, talk = answered(engine, "Which class?", "Trains are booked in second class.")
    question = engine.conversations.messages(talk, -1, 1)[0][0]
    for missing in ("nope", question.id):
        with pytest.raises(NotFoundError, match="no answer"):
            engine.feedback.give(missing, "up")
    assert list(engine.feedback.all()) == []


def test_all_pages_are_read_in_order(engine: Engine) -> None:
    _, talk = answered(engine, "Which class?", "Trains are booked in second class.")
    ids = [answered(engine, "Which class?", "Yes.", conversation=talk)[0] for _ in range(3)]
    for answer in ids:
        engine.feedback.give(answer, "up")
    with engine.conversations._engine.begin() as connection:
        connection.execute(text("UPDATE feedback SET created_at = 1.0"))
    assert sorted(given.answer_id for given in engine.feedback.all()) == sorted(ids)
    assert list(engine.feedback.all("another store")) == []


def test_deleting_a_store_takes_its_feedback(engine: Engine) -> None:
    answer, _ = answered(engine, "Which class?", "Trains are booked in second class.")
    engine.feedback.give(answer, "up")
    engine.stores.delete(engine.stores.get("default"))
    assert list(engine.feedback.all()) == []
    assert Stores(engine.conversations._engine).names() == []


def test_the_evals_read_what_is_exported(engine: Engine, tmp_path: Path) -> None:
    liked, _ = answered(
        engine,
        "Trains and leave?",
        "Trains are booked in second class. Every employee has 28 days of paid leave a year.",
    )
    refused, _ = answered(engine, "Who painted the Mona Lisa?", NO_ANSWER)
    wrong, _ = answered(engine, "Who consents?", "Trains are booked in second class.")
    engine.feedback.give(liked, "up")
    engine.feedback.give(refused, "up")
    engine.feedback.give(wrong, "down", "it is the manager")
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(as_case(given)) + "\n" for given in engine.feedback.all()))
    first, second, third = read_own_cases(path)
    assert (first.answerable, first.review, second.answerable, third.review) == (True, "", False, "drop")
    assert first.source is not None
    assert first.source.uri == first.files[0] == (tmp_path / "docs" / "travel.txt").as_uri()
    assert dict(third.other) == {
        "rating": "down", "asked": "Who consents?", "said": "Trains are booked in second class.",
        "model": "extractive", "comment": "it is the manager", "to_review": True,
        "cited": [{"uri": first.files[0], "quote": "Trains are booked in second class."}],
    }  # fmt: skip

    documents = {document.uri: document for document in asyncio.run(read_documents(engine, "default"))}
    gold, absent = judged_cases(path, [first, second, third], documents)
    assert set(gold.documents) == set(documents)
    quoted = [documents[span.document].text[span.start : span.end] for span in gold.spans]
    assert quoted == ["Trains are booked in second class.", "Every employee has 28 days of paid leave a year."]
    assert (absent.is_answerable, absent.question) == (False, "Who painted the Mona Lisa?")
