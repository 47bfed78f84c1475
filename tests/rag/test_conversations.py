"""Conversations in the ledger: order, history, breaking off, deleting, and the recorder around an answer."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine as Ledger
from sqlalchemy import text, update

from ingest.pipeline import Ingestor
from rag.answering import Answerer
from rag.assembly import Engine
from rag.conversation import HistoryShare, KeptMessage, Message
from rag.errors import (
    ConversationBusyError,
    InvalidInputError,
    NotFoundError,
    StoreNotFoundError,
    UpstreamRejectedError,
    UpstreamUnavailableError,
)
from rag.events import AnswerCompleted, AnswerFailed, Event, TextDelta
from rag.ledger.connection import connect
from rag.ledger.conversations import Conversations, Ending
from rag.ledger.stores import Store, Stores
from rag.ledger.tables import conversations as table
from rag.protocols import Fingerprint
from rag.recording import Recorder, begin_recording
from tests.fakes import ScriptedChatModel, fake_engine

FINGERPRINT = Fingerprint("model", "1", "abc", "", "", "cls", True, 4)
TEXT = "Trains are booked in second class. Flights need the consent of a manager.\n"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = connect(tmp_path)
    yield ledger
    ledger.dispose()


@pytest.fixture
def store(ledger: Ledger) -> Store:
    return Stores(ledger).get_or_create("default", "collection", FINGERPRINT)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "travel.txt").write_text(TEXT)
    with fake_engine(tmp_path / "data") as engine:
        asyncio.run(Ingestor(engine).run([tmp_path / "docs"], "default"))
        yield engine


def say(known: Conversations, conversation_id: str, question: str, answer: str, status: str = "complete") -> str:
    begun = known.begin(conversation_id, question)
    known.finish(begun, Ending(status, answer))  # type: ignore[arg-type]
    return begun.answer_id


def all_messages(known: Conversations, conversation_id: str) -> list[KeptMessage]:
    return known.messages(conversation_id, -1, 1000)[0]


def test_questions_and_answers_stand_in_order(ledger: Ledger, store: Store) -> None:
    known = Conversations(ledger)
    made = known.create(store.id, "How many\n days of leave?")
    assert (made.title, made.store) == ("How many days of leave?", "default")
    say(known, made.id, "How many days?", "28.")
    say(known, made.id, "And sick days?", "10.")
    found = all_messages(known, made.id)
    assert [(m.ordinal, m.role, m.content) for m in found] == [
        (0, "user", "How many days?"), (1, "assistant", "28."), (2, "user", "And sick days?"), (3, "assistant", "10."),
    ]  # fmt: skip
    begun = known.begin(made.id, "Why?")
    assert [message.content for message in begun.history] == ["How many days?", "28.", "And sick days?", "10."]
    assert begun.earlier == 4


def test_history_is_bounded_and_says_so(ledger: Ledger, store: Store) -> None:
    known = Conversations(ledger)
    made = known.create(store.id, "x")
    for number in range(105):
        say(known, made.id, f"question {number}", f"answer {number}")
    begun = known.begin(made.id, "last")
    assert begun.history[0] == Message("user", "question 5")
    assert begun.history[-1] == Message("assistant", "answer 104")
    assert (len(begun.history), begun.earlier) == (200, 210)
    page, has_more = known.messages(made.id, 9, 3)
    assert ([m.ordinal for m in page], has_more) == ([10, 11, 12], True)
    assert HistoryShare.of(210, [Message("system", "s"), *begun.history[-4:], Message("user", "q")]) == HistoryShare(
        4, 206
    )


def test_what_was_never_answered_is_no_history(ledger: Ledger, store: Store) -> None:
    known = Conversations(ledger)
    made = known.create(store.id, "x")
    say(known, made.id, "failed", "", "failed")
    say(known, made.id, "broken", "Every employ", "incomplete")
    assert known.begin(made.id, "next").history == (Message("user", "broken"), Message("assistant", "Every employ"))


def test_one_answer_at_a_time(ledger: Ledger, store: Store) -> None:
    known = Conversations(ledger)
    made, other = known.create(store.id, "x"), known.create(store.id, "y")
    first = known.begin(made.id, "one")
    with pytest.raises(ConversationBusyError, match="Wait for its end"):
        known.begin(made.id, "two")
    assert len(all_messages(known, made.id)) == 2, "the refused question left nothing"
    known.begin(other.id, "elsewhere")
    second = known.begin(made.id, "I know better", take_over=True)
    known.finish(first, Ending("complete", "late"))
    with pytest.raises(ConversationBusyError):
        known.begin(made.id, "three")
    known.finish(second, Ending("complete", "done"))
    assert [m.content for m in all_messages(known, made.id)] == ["one", "late", "I know better", "done"]


def test_a_killed_process_blocks_a_conversation_for_a_while_only(ledger: Ledger, store: Store) -> None:
    known = Conversations(ledger)
    made = known.create(store.id, "x")
    killed = known.begin(made.id, "one")
    known.save(killed, "As far as I kn")
    with ledger.begin() as connection:
        connection.execute(update(table).values(answering_until=table.c.answering_until - 1000))
    assert known.begin(made.id, "two").history == (Message("user", "one"), Message("assistant", "As far as I kn"))
    assert all_messages(known, made.id)[1].status == "incomplete"


def test_many_at_once_keep_the_order(ledger: Ledger, store: Store) -> None:
    known = Conversations(ledger)
    made = known.create(store.id, "x")
    barrier, refused, failures = threading.Barrier(8), [], []

    def ask(number: int) -> None:
        barrier.wait()
        try:
            begun = known.begin(made.id, f"question {number}")
            known.finish(begun, Ending("complete", f"answer {number}"))
        except ConversationBusyError:
            refused.append(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = all_messages(known, made.id)
    assert [m.ordinal for m in found] == list(range(2 * (8 - len(refused))))
    pairs = zip(found[::2], found[1::2], strict=True)
    assert all(answer.content == asked.content.replace("question", "answer") for asked, answer in pairs)


def test_the_latest_come_first_page_by_page(ledger: Ledger, store: Store) -> None:
    known = Conversations(ledger)
    made = [known.create(store.id, f"number {n}") for n in range(5)]
    say(known, made[1].id, "again", "yes")
    first, has_more = known.page(2)
    assert ([c.title for c in first], has_more) == (["number 1", "number 4"], True)
    rest, has_more = known.page(10, first[-1].id)
    assert ([c.title for c in rest], has_more) == (["number 3", "number 2", "number 0"], False)
    assert known.latest(store.id) == known.get(made[1].id)
    assert known.find(made[3].id[:13]).id == made[3].id
    for missing in (lambda: known.get("nope"), lambda: known.find("%"), lambda: known.page(1, "nope"),
                    lambda: known.begin("nope", "q"), lambda: known.messages("nope", -1, 1),
                    lambda: known.delete("nope")):  # fmt: skip
        with pytest.raises(NotFoundError, match=r"[Nn]o conversation"):
            missing()


def test_what_is_deleted_is_gone_from_the_files(ledger: Ledger, store: Store, tmp_path: Path) -> None:
    known = Conversations(ledger)
    kept, made = known.create(store.id, "stays"), known.create(store.id, "xylophone-canary title")
    say(known, made.id, "xylophone-canary question", "xylophone-canary answer")
    late = known.begin(made.id, "one more")
    assert any(b"xylophone" in path.read_bytes() for path in tmp_path.iterdir())
    known.delete(made.id)
    known.finish(late, Ending("complete", "xylophone-canary late"))
    assert [c.id for c in known.page(10)[0]] == [kept.id]
    assert all(b"xylophone" not in path.read_bytes() for path in tmp_path.iterdir())


def test_deleting_a_store_takes_its_conversations(ledger: Ledger, store: Store) -> None:
    known, other = Conversations(ledger), Stores(ledger).get_or_create("other", "collection", FINGERPRINT)
    say(known, known.create(store.id, "x").id, "q", "a")
    kept = known.create(other.id, "y")
    Stores(ledger).delete(store)
    assert known.page(10) == ([kept], False)
    with ledger.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM messages")).scalar() == 0


def test_text_that_no_database_holds_is_kept_as_well_as_it_goes(ledger: Ledger, store: Store) -> None:
    known = Conversations(ledger)
    made = known.create(store.id, "half \ud83d and NUL \0")
    say(known, made.id, "half \ud83d", "NUL \0 🙂")
    assert [m.content for m in all_messages(known, made.id)] == ["half \ufffd", "NUL \ufffd 🙂"]


async def recorded(engine: Engine, model: ScriptedChatModel, recorder: Recorder) -> list[Event]:
    answerer = Answerer(engine.retriever, model, engine.settings.chat)
    prepared = await recorder.prepared(answerer.prepare("default", "Which class?", recorder.history))
    return [event async for event in recorder.keep(answerer.stream(prepared))]


def kept_answer(engine: Engine, recorder: Recorder) -> KeptMessage:
    return all_messages(engine.conversations, recorder.conversation_id)[-1]


def test_a_whole_answer_is_kept_with_its_trace(engine: Engine) -> None:
    async def ask() -> Recorder:
        recorder = await begin_recording(engine, "default", None, "Which class?")
        done = (await recorded(engine, ScriptedChatModel("Trains are booked in second class."), recorder))[-1]
        assert isinstance(done, AnswerCompleted)
        assert [dict(c) for c in kept_answer(engine, recorder).citations] == [c.as_dict() for c in done.citations]
        assert [dict(s) for s in kept_answer(engine, recorder).sentences] == [s.as_dict() for s in done.sentences]
        return recorder

    recorder = asyncio.run(ask())
    kept = kept_answer(engine, recorder)
    assert (kept.id, kept.status, kept.content) == (
        recorder.answer_id,
        "complete",
        "Trains are booked in second class.",
    )
    assert (kept.stand_alone, kept.model, kept.finish_reason) == ("Which class?", "extractive", "stop")
    assert kept.usage["completion_tokens"] > 0
    assert kept.sources[0]["chunk_id"] == kept.citations[0]["chunk_id"]
    assert kept.sources[0]["scores"]["fused"] == kept.sources[0]["score"]


@pytest.mark.parametrize(
    ("script", "status", "content", "code"),
    [
        (["Trains are", UpstreamUnavailableError("gone")], "incomplete", "Trains are", "upstream_unavailable"),
        (["Trains are", RuntimeError("surprise")], "incomplete", "Trains are", "quoth"),
        ([UpstreamRejectedError("wrong key")], "failed", "", "upstream_rejected"),
        ([], "failed", "", "upstream_unavailable"),
    ],
)
def test_what_breaks_off_is_kept_as_such(
    engine: Engine, script: list[str | Exception], status: str, content: str, code: str
) -> None:
    async def ask() -> Recorder:
        recorder = await begin_recording(engine, "default", None, "Which class?")
        model = ScriptedChatModel(*script, finish=False)
        if status == "failed":
            with pytest.raises((UpstreamRejectedError, UpstreamUnavailableError)):
                await recorded(engine, model, recorder)
        else:
            assert isinstance((await recorded(engine, model, recorder))[-1], AnswerFailed)
        return recorder

    recorder = asyncio.run(ask())
    kept = kept_answer(engine, recorder)
    assert (kept.status, kept.content, kept.error_code) == (status, content, code)
    engine.conversations.begin(recorder.conversation_id, "the next one may be asked at once")


def test_a_reader_who_leaves_leaves_what_was_said(engine: Engine) -> None:
    model = ScriptedChatModel("Trains are ", "booked in ", "second class.")

    async def leave() -> Recorder:
        recorder = await begin_recording(engine, "default", None, "Which class?")
        answerer = Answerer(engine.retriever, model, engine.settings.chat)
        events = recorder.keep(answerer.stream(await recorder.prepared(answerer.prepare("default", "Which class?"))))
        async for event in events:
            if isinstance(event, TextDelta):
                break
        await events.aclose()  # type: ignore[attr-defined]
        return recorder

    recorder = asyncio.run(leave())
    kept = kept_answer(engine, recorder)
    assert (kept.status, kept.content, kept.error_code) == ("incomplete", "Trains are", "interrupted")
    assert model.closed == 1


def test_an_answer_that_is_never_read_is_closed(engine: Engine) -> None:
    async def abandon() -> Recorder:
        recorder = await begin_recording(engine, "default", None, "Which class?")
        await recorder.close()
        await recorder.close()
        return recorder

    kept = kept_answer(engine, asyncio.run(abandon()))
    assert (kept.status, kept.error_code) == ("incomplete", "interrupted")


def test_an_answer_that_cannot_be_kept_does_not_look_kept(engine: Engine) -> None:
    async def ask() -> Event:
        recorder = await begin_recording(engine, "default", None, "Which class?")
        answerer = Answerer(engine.retriever, ScriptedChatModel("Second class."), engine.settings.chat)
        prepared = await recorder.prepared(answerer.prepare("default", "Which class?"))
        events: list[Event] = []
        async for event in recorder.keep(answerer.stream(prepared)):
            events.append(event)
            with engine.conversations._engine.begin() as connection:
                connection.execute(text("CREATE TRIGGER IF NOT EXISTS full BEFORE UPDATE ON messages "
                                        "BEGIN SELECT * FROM no_such_table; END"))  # fmt: skip
        assert sum(isinstance(event, AnswerCompleted | AnswerFailed) for event in events) == 1
        return events[-1]

    failed = asyncio.run(ask())
    assert isinstance(failed, AnswerFailed)
    assert failed.text == "Second class."


def test_a_conversation_stays_with_its_store(engine: Engine) -> None:
    asyncio.run(engine.open_store("other"))
    made = engine.conversations.create(engine.stores.identity("other"), "x")

    async def ask(store: str, conversation: str | None, question: str = "q") -> None:
        await begin_recording(engine, store, conversation, question)

    with pytest.raises(InvalidInputError, match="about the store 'other', not 'default'"):
        asyncio.run(ask("default", made.id))
    with pytest.raises(NotFoundError):
        asyncio.run(ask("default", "nope"))
    with pytest.raises(StoreNotFoundError):
        asyncio.run(ask("nope", None))
    with pytest.raises(InvalidInputError, match="empty"):
        asyncio.run(ask("default", None, " "))
    assert len(engine.conversations.page(10)[0]) == 1


def test_a_follow_up_is_answered_with_the_ledgers_history(engine: Engine) -> None:
    model = ScriptedChatModel("Trains are booked in second class.")

    async def ask() -> None:
        first = await begin_recording(engine, "default", None, "Which class are trains booked in?")
        await recorded(engine, model, first)
        second = await begin_recording(engine, "default", first.conversation_id, "And who says so?")
        answerer = Answerer(engine.retriever, model, engine.settings.chat)
        prepared = await second.prepared(answerer.prepare("default", "And who says so?", second.history))
        assert second.share(prepared.prompt.messages) == HistoryShare(2, 0)
        await prepared.close()
        await second.close()

    asyncio.run(ask())
    assert [m.role for m in model.prompts[1].messages] == ["system", "user", "assistant", "user"]
