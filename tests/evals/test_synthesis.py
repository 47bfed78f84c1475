"""Test sets from documents: by rules, by a scripted model, and again after the documents have changed."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from evals.absence import draft_absent, is_absent
from evals.cases import OwnCase, Source, case_id, judged_cases, read_own_cases, write_own_cases
from evals.question_rules import draft_questions, plain
from evals.question_writing import QuestionWriter
from evals.stored import StoredDocument, read_documents
from evals.synthesis import Synthesis, synthesize
from ingest.pipeline import Ingestor
from rag.assembly import Engine
from rag.documents import Block
from rag.errors import InvalidInputError, StoreNotFoundError
from tests.fakes import ScriptedChatModel, fake_engine

ROOT = Path(__file__).parents[2]
PUMP = """# Pump P-40

The P-40 is a submersible pump for clean water in tanks. The pump weighs 6 kg.

## Cleaning the strainer

Turn the strainer to the left and pull it off. Rinse it with clear water.

## Warranty

The warranty lasts 36 months from delivery. Claims are made within 30 days of the fault.
"""
LEAVE = """# Leave policy

Every employee has 28 days of leave in a calendar year. Unused days lapse on 31 March of the next year.

## Who approves it?

The team lead approves leave within 3 working days, and tells the office at once.
"""

T = TypeVar("T")


def with_engine(data: Path, work: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
    with fake_engine(data) as engine:
        return asyncio.run(work(engine))


def write(folder: Path, **texts: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text)


async def ingest(engine: Engine, folder: Path) -> None:
    await Ingestor(engine).run([folder], "s")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with fake_engine(tmp_path_factory.mktemp("examples") / "data") as engine:
        asyncio.run(ingest(engine, ROOT / "examples"))
        yield engine


def drafted(text: str, *kinds: tuple[str, str]) -> list[tuple[str, tuple[str, ...], str]]:
    """Questions, answers and kinds of a document of these blocks, each (kind, text)."""
    blocks, whole = [], ""
    for kind, part in kinds or (("paragraph", text),):
        blocks.append(Block(len(whole), len(whole) + len(part), kind, ("Title",)))  # type: ignore[arg-type]
        whole += part + "\n"
    document = StoredDocument("u", "Title", "g", whole, tuple(blocks), ())
    found = draft_questions(document)
    for draft in found:
        assert all(answer in plain(whole[draft.start : draft.end]) for answer in draft.answers)
    return [(draft.question, draft.answers, draft.kind) for draft in found]


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        ("The pump weighs 6.2 kg and is red.", "How much does the pump weigh?", "6.2 kg"),
        ("The warranty lasts 36 months from delivery.", "How long does the warranty last?", "36 months"),
        ("Lunch in the canteen costs 4.50 euros.", "How much does lunch in the canteen cost?", "4.50 euros"),
        ("The rated flow is 38 litres a minute.", "What is the rated flow?", "38 litres"),
        ("The car park has 48 places, 4 with chargers.", "How many places does the car park have?", "48 places"),
        (
            "Unused days lapse on **31 March 2026** in any case.",
            "Unused days lapse on what date in any case?",
            "31 March 2026",
        ),
        (
            "The building is open from 06:30 to 20:00 on working days.",
            "The building is open at what hours on working days?",
            "06:30 to 20:00",
        ),
        (
            "Employees buy company products at 20 % below the list price.",
            "Employees buy company products at what percentage below the list price?",
            "20 %",
        ),
        ("The company was founded in 2009 by two engineers.", "The company was founded in what year by two engineers?",
         "2009"),
    ],
)  # fmt: skip
def test_questions_from_figures(sentence: str, question: str, answer: str) -> None:
    assert drafted(sentence) == [(question, (answer,), "fact")]


@pytest.mark.parametrize(
    "sentence",
    [
        "It weighs 6.2 kg with its cable and plug.",  # what does?
        "Send it within 60 days of the expense.",
        "Use the 10 m cable extension and no other one.",  # an adjective
        "E-33 was shown for a moment when the plug was pulled.",  # no count
        "Valid from 1 January 2026 for all.",  # too little to go by
        "The weight of the pump is not known to anybody here.",
    ],
)
def test_sentences_that_make_no_question(sentence: str) -> None:
    assert drafted(sentence) == []


def test_questions_from_definitions() -> None:
    assert drafted("The buddy is a colleague from another team who helps.") == [
        ("What is the buddy?", ("a colleague from another team who helps",), "definition")
    ]
    assert drafted("PTO stands for paid time off in this handbook.")[0][0] == "What does PTO stand for?"
    assert drafted("This is a sentence about something else entirely.") == []


@pytest.mark.parametrize(
    ("heading", "question"),
    [
        ("## Requesting leave", "How do I request leave?"),
        ("How to send a pump in", "How do I send a pump in?"),
        ("3.1 Replace the filter", "How do I replace the filter?"),
        ("Can the pump stay in the water?", "Can the pump stay in the water?"),
        ("Why it was not noticed", "Why it was not noticed"),
        ("Pension", "Title: Pension"),
    ],
)
def test_questions_from_headings(heading: str, question: str) -> None:
    under = "Whoever wants it asks the office."
    assert drafted("", ("heading", heading), ("paragraph", under)) == [(question, (), "heading")]


@pytest.mark.parametrize("heading", ["Title", "Overview", "## Contents", "1."])
def test_headings_that_make_no_question(heading: str) -> None:
    assert drafted("", ("heading", heading), ("paragraph", "Whoever wants it asks the office.")) == []


def test_examples_give_cases_whose_quotes_slice_back_and_are_found(examples: Engine) -> None:
    async def work() -> tuple[Synthesis, int]:
        found = await synthesize(examples, "s", count=60)
        documents = {each.uri: each for each in await read_documents(examples, "s")}
        hits = 0
        for case in found.cases:
            source = case.source
            assert source is not None
            if not case.answerable:
                assert await is_absent(examples, (await examples.open_store("s")).id, case.absent)
                assert not (case.answers or case.passages or case.files)
                continue
            assert documents[source.uri].text[source.start : source.end] == case.passages[0]
            found_hits = (await examples.retriever.search("s", case.question)).hits
            hits += any(
                hit.uri == source.uri and hit.chunk.char_start < source.end and hit.chunk.char_end > source.start
                for hit in found_hits
            )
        return found, hits

    found, hits = asyncio.run(work())
    answerable = [case for case in found.cases if case.answerable]
    assert (len(found.cases), len(answerable)) == (60, 48)
    assert len({case.id for case in found.cases}) == len({case.question for case in found.cases}) == 60
    assert {case.kind for case in found.cases} == {"heading", "definition", "fact", "absent"}
    # All but a few: the embedder is a bag of hashed words.
    assert hits >= 44
    assert 0.5 < found.overlap < 1
    assert found.copied == sum(case.overlap >= 0.9 for case in answerable)
    assert "handbook/leave.md" in {file for case in found.cases for file in case.files}


def test_the_same_store_gives_the_same_cases_and_another_seed_others(examples: Engine) -> None:
    async def work(seed: int) -> list[str]:
        return [case.id for case in (await synthesize(examples, "s", count=30, seed=seed)).cases]

    assert asyncio.run(work(0)) == asyncio.run(work(0)) != asyncio.run(work(1))


def test_canonical_texts_are_put_together_again(examples: Engine) -> None:
    for document in asyncio.run(read_documents(examples, "s")):
        for chunk in document.chunks:
            assert document.text[chunk.char_start : chunk.char_end] == chunk.text


def test_only_changed_documents_are_asked_about_anew(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write(folder, pump=PUMP, leave=LEAVE)

    async def work(engine: Engine) -> tuple[Synthesis, Synthesis, Synthesis]:
        await ingest(engine, folder)
        first = await synthesize(engine, "s", count=12)
        again = await synthesize(engine, "s", first.cases, count=12)
        write(folder, leave=LEAVE.replace("28 days", "30 days"))
        await ingest(engine, folder)
        return first, again, await synthesize(engine, "s", first.cases, count=12)

    first, again, changed = with_engine(tmp_path / "data", work)
    assert again.cases == first.cases
    assert "new" not in again.counts
    before, after = ([c for c in s.cases if c.source and c.source.uri.endswith("pump.md")] for s in (first, changed))
    assert before
    assert after[: len(before)] == before
    assert changed.counts["removed, document changed"] > 0
    leave = [case for case in changed.cases if case.source and case.source.uri.endswith("leave.md")]
    assert any("30 days" in case.answers for case in leave)
    assert not any("28 days" in case.answers for case in leave)
    old = {case.source.generation for case in first.cases if case.source and case.source.uri.endswith("leave.md")}
    assert not old & {case.source.generation for case in leave if case.source}


def test_what_a_person_marked_is_kept_or_never_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write(folder, pump=PUMP, leave=LEAVE)

    async def work(engine: Engine) -> tuple[list[OwnCase], list[OwnCase], Synthesis]:
        await ingest(engine, folder)
        first = list((await synthesize(engine, "s", count=12)).cases)
        own = OwnCase("mine", "What do I drink?", files=("pump.md",))
        by_question = {case.question: case for case in first}
        kept = replace(by_question["Who approves it?"], review="keep")
        dropped = replace(by_question["How much does the pump weigh?"], review="drop")
        rest = [case for case in first if case.id not in (kept.id, dropped.id)]
        write(folder, leave="# Leave policy\n\nA new page.\n" + LEAVE.removeprefix("# Leave policy\n"))
        await ingest(engine, folder)
        return [own, kept, dropped], rest, await synthesize(engine, "s", [own, kept, dropped, *rest], count=12)

    marked, rest, found = with_engine(tmp_path / "data", work)
    own, kept, dropped = found.cases[:3]
    assert own == marked[0]
    assert dropped == marked[2]
    assert [case.question for case in found.cases].count(dropped.question) == 1
    assert (kept.id, kept.review, kept.passages) == (marked[1].id, "keep", marked[1].passages)
    assert kept.source
    assert marked[1].source
    assert kept.source.start > marked[1].source.start
    unmarked = {case.id for case in rest if case.answerable and case.source and case.source.uri.endswith("leave.md")}
    assert unmarked
    assert not unmarked & {case.id for case in found.cases}


def test_cases_go_with_their_document_and_when_the_absent_comes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write(folder, pump=PUMP, leave=LEAVE)

    async def work(engine: Engine) -> tuple[Synthesis, str, Synthesis]:
        await ingest(engine, folder)
        first = await synthesize(engine, "s", count=10)
        absent = next(case.absent for case in first.cases if case.absent)
        (folder / "pump.md").unlink()
        write(folder, more=f"# More\n\nHere we write of {absent} at last, and of nothing else.\n")
        await ingest(engine, folder)
        return first, absent, await synthesize(engine, "s", first.cases, count=10)

    first, absent, found = with_engine(tmp_path / "data", work)
    assert any(case.source and case.source.uri.endswith("pump.md") for case in first.cases)
    assert not any(case.source and case.source.uri.endswith("pump.md") for case in found.cases)
    assert found.counts["removed, document gone"] > 0
    assert absent not in {case.absent for case in found.cases}


def test_a_question_that_two_documents_answer_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write(folder, old=LEAVE.replace("28", "25"), new=LEAVE)

    async def work(engine: Engine) -> Synthesis:
        await ingest(engine, folder)
        return await synthesize(engine, "s", count=20)

    found = with_engine(tmp_path / "data", work)
    assert found.counts["not used, several documents answer it"] > 0
    questions = [case.question for case in found.cases]
    assert not any(question.startswith("How many days") for question in questions)


def test_absent_questions_ask_for_another_name_or_topic() -> None:
    drafts = list(draft_absent("Guide", ["How heavy is the P-40?", "What came in 2025?", "P-40 or TC-2?"], "0"))
    assert [draft.question for draft in drafts[:2]] == ["How heavy is the P-41?", "How heavy is the P-42?"]
    assert "What came in 2026?" in {draft.question for draft in drafts}
    assert not any("TC-3" in draft.question for draft in drafts)
    assert all(draft.term in draft.question for draft in drafts)


def test_a_model_writes_and_only_what_stands_there_is_believed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write(folder, pump="# Pump\n\nThe pump weighs 6 kg.\n")

    async def work(engine: Engine, reply: str) -> tuple[Synthesis, ScriptedChatModel]:
        await ingest(engine, folder)
        model = ScriptedChatModel(reply)
        return await synthesize(engine, "s", count=5, writer=QuestionWriter(model)), model

    good = json.dumps({"question": "How heavy is it?", "quote": "6 kg"})
    found, model = with_engine(tmp_path / "a", lambda engine: work(engine, f"Here:\n```json\n{good}\n```"))
    [written] = found.cases
    assert (written.question, written.answers, written.passages) == ("How heavy is it?", ("6 kg",), ("6 kg",))
    assert (written.kind, written.overlap) == ("written", 0)
    absent = json.dumps({"question": "Who sells drones?", "term": "drones"})
    [unanswerable] = with_engine(tmp_path / "b", lambda engine: work(engine, absent))[0].cases
    assert (unanswerable.answerable, unanswerable.absent) == (False, "drones")
    assert "<passage>" in model.prompts[0].messages[-1].content

    for reply, reason in [
        ({"question": "How heavy?", "quote": "7 kg", "term": "pump"}, "quote not verbatim"),
        ({"question": "A pump?", "quote": "7 kg", "term": "pump"}, "term not absent"),
        ({"question": "How heavy?", "quote": "6 kg", "term": "tree"}, "term not in the question"),
        ({"question": ""}, "malformed reply"),
    ]:
        found, _ = with_engine(tmp_path / reason, lambda engine, reply=reply: work(engine, json.dumps(reply)))  # type: ignore[misc]
        assert found.counts[reason] >= 1, reason
    found, _ = with_engine(tmp_path / "none", lambda engine: work(engine, "I would rather {not}."))
    assert (found.cases, found.counts["malformed reply"]) == ((), 2)


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        with_engine(tmp_path, lambda engine: synthesize(engine, "none"))


def test_the_file_of_cases_goes_there_and_back(tmp_path: Path) -> None:
    source = Source("file:///a.md", "g1", 4, 9)
    cases = [
        OwnCase(
            case_id("u", 4, 9, "Who?"), "Who?", ("me",), ("a.md",), ("it is",),
            review="keep", kind="fact", overlap=0.25, source=source,
        ),
        OwnCase("x", "What of drones?", answerable=False, kind="absent", absent="drones", source=source),
        OwnCase("y", "Ünd?", ("ja",), other={"note": "by hand"}),
    ]  # fmt: skip
    path = tmp_path / "sets" / "cases.jsonl"
    write_own_cases(path, cases)
    assert read_own_cases(path) == cases
    assert [file.name for file in path.parent.iterdir()] == ["cases.jsonl"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2: it is not valid JSON"),
        ("[]", "line 2: it holds no JSON object"),
        ('{"question": " "}', "line 2: 'question' is blank"),
        ('{"question": "a", "review": "good"}', "line 2: 'review' is `keep`, `drop` or empty"),
        ('{"question": "a", "answers": "b"}', "line 2: 'answers' must be a list"),
        ('{"question": "a", "overlap": 2}', "line 2: 'overlap' is a number"),
        ('{"question": "a", "source": {"uri": "u"}}', "line 2: 'source' needs"),
        ('{"question": "a", "id": "x"}', "line 2: the case 'x' stands in line 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": "x", "question": "a", "answers": ["b"]}\n' + line + "\n")
    with pytest.raises(InvalidInputError) as raised:
        read_own_cases(path)
    assert f"{path}, {problem}" in str(raised.value)


def stored(uri: str, text: str) -> dict[str, StoredDocument]:
    return {uri: StoredDocument(uri, "t", "g", text, (), ())}


def test_cases_are_judged_by_what_the_store_holds() -> None:
    documents = stored("file:///d/a.md", "one two one") | stored("file:///d/sub/a.md", "three\nfour")
    source = Source("file:///d/a.md", "g", 8, 11)
    own = [
        OwnCase("1", "q", passages=("one",), source=source, files=("a.md",)),
        OwnCase("2", "q", passages=("three four",)),
        OwnCase("3", "q", files=("sub/a.md",)),
        OwnCase("4", "q", answers=("x",)),
        OwnCase("5", "q", answerable=False, absent="z"),
        OwnCase("6", "q", review="drop"),
    ]
    found = judged_cases(Path("c"), own, documents)
    assert [case.id for case in found] == ["1", "2", "3", "4", "5"]
    assert [(span.document, span.start, span.end) for span in found[0].spans] == [("file:///d/a.md", 8, 11)]
    assert found[1].documents == found[2].documents == ("file:///d/sub/a.md",)
    assert not found[4].is_answerable


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        (OwnCase("1", "q", files=("b.md",)), "'b.md' is not in the store"),
        (OwnCase("1", "q", files=("a.md",)), "may be"),
        (OwnCase("1", "q", passages=("four",)), "stands in no document"),
        (OwnCase("1", "q"), "give it `answers`"),
    ],
)
def test_a_case_that_cannot_be_judged_is_named(case: OwnCase, problem: str) -> None:
    documents = stored("file:///d/a.md", "one") | stored("file:///d/sub/a.md", "three")
    with pytest.raises(InvalidInputError, match=problem):
        judged_cases(Path("c"), [case], documents)
