"""A model that obeys the attacker: whatever it writes, however its stream is cut, nothing in the answer is alive."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.pipeline import Ingestor
from rag.answering import Answerer, PreparedAnswer
from rag.assembly import Engine
from rag.draft import MARK
from rag.events import AnswerCompleted, Event, TextDelta
from rag.protocols import Sampling
from tests.fakes import ScriptedChatModel, fake_engine
from tests.inert import PAYLOADS, alive

DOCUMENT = """# Leave

Every employee has 28 days of paid leave a year. The form is at https://intranet.example/leave?form=7 for all.
Questions go to leave@intranet.example at any time. A list has the type List<int> here.
"""
SAID = "Every employee has 28 days of paid leave a year."
STANDING = ("https://intranet.example/leave?form=7", "leave@intranet.example")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    docs: Path = tmp_path_factory.mktemp("docs")
    (docs / "leave.md").write_text(DOCUMENT)
    with fake_engine(tmp_path_factory.mktemp("data")) as engine:
        asyncio.run(Ingestor(engine).run([docs], "default"))
        yield engine


async def answer(answerer: Answerer, pieces: list[str], prepared: PreparedAnswer | None = None) -> AnswerCompleted:
    """The answer of a model that says these pieces; `prepared` saves the retrieval."""
    if prepared is None:
        prepared = await answerer.prepare("default", "How many days of leave?")
    else:
        said = ScriptedChatModel(*pieces).stream(prepared.prompt, Sampling())
        prepared = PreparedAnswer(prepared.found, prepared.prompt, await anext(said), said)
    events: list[Event] = [event async for event in answerer.stream(prepared)]
    done = events[-1]
    assert isinstance(done, AnswerCompleted)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == done.text
    return done


def answerer_for(engine: Engine, *pieces: str) -> Answerer:
    return Answerer(engine.retriever, ScriptedChatModel(*pieces), engine.settings.chat)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_the_judge_sees_every_payload(payload: str) -> None:
    assert alive(payload)


@pytest.mark.parametrize("name", PAYLOADS)
def test_nothing_lives_at_any_split_of_the_stream(engine: Engine, name: str) -> None:
    payload = PAYLOADS[name]

    async def answers() -> list[AnswerCompleted]:
        whole = [f"{SAID}\n\n{payload}\n\nDone."]
        first = await answer(answerer_for(engine, *whole), whole)
        answerer = answerer_for(engine, SAID)
        prepared = await answerer.prepare("default", "How many days of leave?")
        await prepared.close()
        step = max(1, len(payload) // 120)  # every split point, but for the one payload that is longer
        scripts = [
            [f"{SAID}\n\n{payload[:cut]}", payload[cut:] + "\n\nDone."] for cut in range(0, len(payload) + 1, step)
        ]
        scripts.append([*f"{SAID}\n\n{payload}\n\nDone."])
        return [first, *[await answer(answerer, script, prepared) for script in scripts]]

    first, *others = asyncio.run(answers())
    assert alive(first.text, standing=STANDING) == []
    assert {done.text for done in others} == {first.text}
    assert {done.citations for done in others} == {first.citations}
    assert first.citations[0].quote == SAID
    for citation in first.citations:
        assert DOCUMENT[citation.char_start : citation.char_end] == citation.quote
        assert citation.uri.endswith("leave.md")
    assert first.text.startswith(SAID)
    assert first.text.removesuffix(MARK).endswith("Done.")


def test_a_payload_at_the_very_end_is_contained_too(engine: Engine) -> None:
    async def answers() -> list[str]:
        return [(await answer(answerer_for(engine, p), [p])).text for p in PAYLOADS.values()]

    assert [alive(text) for text in asyncio.run(answers())] == [[] for _ in PAYLOADS]


@pytest.mark.parametrize("forged", ["[1]", "[99]", "[-1]", "[1][2][3]", "[^1]", "【3†source】", "[1]" * 3000])
def test_a_number_that_the_model_writes_is_no_citation(engine: Engine, forged: str) -> None:
    text = f"The moon is made of cheese {forged}. Nobody may take leave {forged}."
    done = asyncio.run(answer(answerer_for(engine, text), [text]))
    assert done.citations == ()
    if forged[1:-1].isdigit():
        assert forged not in done.text


def test_addresses_of_the_passages_stay_and_are_cited(engine: Engine) -> None:
    text = f"The form is at {STANDING[0]} for all. Questions go to {STANDING[1]} at any time."
    done = asyncio.run(answer(answerer_for(engine, *text), [text]))
    assert done.text == text
    assert [citation.verdict for citation in done.citations] == ["quoted", "quoted"]


def test_nothing_is_hung_on_an_address_that_stays(engine: Engine) -> None:
    for tail in ("&d=SECRET", "/SECRET", "SECRET", ".SECRET", "'SECRET", "](SECRET", "\u00a0SECRET", "中SECRET"):
        text = f"See {STANDING[0]}{tail}"
        done = asyncio.run(answer(answerer_for(engine, text), [text]))
        words = [word for word in done.text.split(" ") if "://" in word]
        assert all(word.strip("]") == STANDING[0] for word in words), (tail, done.text)


def test_a_quote_that_containment_changes_is_grounded(engine: Engine) -> None:
    text = "A list has the type List<int> here."
    done = asyncio.run(answer(answerer_for(engine, text), [text]))
    assert done.text == "A list has the type List< int> here."
    (citation,) = done.citations
    assert (citation.quote, citation.verdict) == (text, "quoted")
