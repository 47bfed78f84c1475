"""Questions about a folder of documents, good and bad."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evals.datasets import read_dataset
from evals.records import Case, Dataset
from rag.errors import InvalidInputError


def write_rows(path: Path, rows: Sequence[object]) -> None:
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    (folder / "documents" / "handbook").mkdir(parents=True)
    (folder / "documents" / "handbook" / "leave policy.md").write_text(
        "# Leave\n\nYou have 28 days\nof leave. Ask HR.\n"
    )
    (folder / "documents" / "expenses.html").write_text(
        "<h1>Expenses</h1><p>Hotels: <b>140</b> euros.</p><p>Ask HR.</p>"
    )
    (folder / "documents" / "empty.txt").write_text("")
    return folder


LEAVE = "handbook/leave policy.md"


def test_questions_about_a_folder_are_read(own: Path) -> None:
    rows = [
        {"id": "a", "question": "How much leave?", "answers": ["28 days"], "files": [LEAVE], "note": "checked"},
        {"id": "b", "question": "Hotels?", "passages": ["Hotels: 140 euros."]},
        {"id": "c", "question": "How many days?", "passages": ["28 days of leave."], "files": [LEAVE]},
        {"question": "Who is the king?", "answerable": False},
        {"id": "e", "question": "Which colour?", "answers": ["red"]},
    ]
    write_rows(own / "questions.jsonl", rows)
    dataset = read_dataset(own)
    assert dataset.name == "own"
    assert dataset.documents.keys() == {LEAVE, "expenses.html"}
    assert dataset.documents[LEAVE].title == "Leave"
    assert dataset.qrels == {"a": {LEAVE: 1}, "b": {"expenses.html": 1}, "c": {LEAVE: 1}}
    cases = {case.question: case for case in dataset.cases}
    assert cases["How much leave?"] == Case("a", "How much leave?", ("28 days",), (LEAVE,))
    (hotels,) = cases["Hotels?"].spans
    assert dataset.documents["expenses.html"].text[hotels.start : hotels.end] == "Hotels: 140 euros."
    (days,) = cases["How many days?"].spans
    assert dataset.documents[LEAVE].text[days.start : days.end] == "28 days\nof leave."
    king = cases["Who is the king?"]
    assert (king.is_answerable, king.documents, king.id[:2]) == (False, (), "q-")
    assert cases["Which colour?"].answers == ("red",)
    (own / "documents" / "expenses.html").write_text("<p>Hotels: 140 euros.</p><p>More.</p>")
    assert read_dataset(own).sha256 != dataset.sha256


def test_a_folder_may_be_read_within_an_event_loop(own: Path) -> None:
    write_rows(own / "questions.jsonl", [{"question": "Hotels?", "files": ["expenses.html"]}])

    async def read() -> Dataset:
        return read_dataset(own)

    assert len(asyncio.run(read()).documents) == 2


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"id": "x"}, "'question' must be a string; it is missing"),
        ({"question": " ", "answers": ["x"]}, "'question' is blank"),
        ({"question": "Q?"}, "one of 'answers', 'files' and 'passages' must be given"),
        ({"question": "Q?", "answer": "x"}, "there is no field 'answer'. Is 'answers' meant"),
        ({"question": "Q?", "is_answerable": False}, "there is no field 'is_answerable'. Is 'answerable' meant"),
        ({"question": "Q?", "answerable": False, "files": ["expenses.html"]}, "'answerable' is false, but"),
        ({"question": "Q?", "answerable": "no"}, "'answerable' must be true or false"),
        ({"question": "Q?", "files": "expenses.html"}, "'files' must be a list of strings"),
        (
            {"question": "Q?", "files": ["expense.html"]},
            "there is no file 'expense.html' in documents. Is 'expenses.html' meant",
        ),
        ({"question": "Q?", "files": ["../questions.jsonl"]}, "there is no file"),
        ({"question": "Q?", "files": ["empty.txt"]}, "'empty.txt' is not read: "),
        ({"question": "Q?", "passages": ["no such words"]}, "no such passage stands in documents: 'no such words'"),
        ({"question": "Q?", "passages": ["140 euros"], "files": [LEAVE]}, f"no such passage stands in {LEAVE}"),
        ({"question": "Q?", "passages": ["Ask HR."]}, "the passage 'Ask HR.' stands in .* and .* Name one in 'files'"),
        ({"id": "first", "question": "Q?", "answers": ["x"]}, "question 'first' stands in line 1 already"),
    ],
)
def test_a_bad_question_is_named(own: Path, fields: dict[str, Any], problem: str) -> None:
    write_rows(own / "questions.jsonl", [{"id": "first", "question": "Q?", "answers": ["x"]}, fields])
    with pytest.raises(InvalidInputError, match=rf"questions\.jsonl, line 2: {problem}"):
        read_dataset(own)


def test_what_a_folder_of_questions_needs(own: Path) -> None:
    (own / "questions.jsonl").write_text("\n")
    with pytest.raises(InvalidInputError, match="holds no question"):
        read_dataset(own)
    with pytest.raises(InvalidInputError, match="has no split named 'dev'"):
        read_dataset(own, "dev")
    shutil.rmtree(own / "documents")
    with pytest.raises(InvalidInputError, match=r"There is no folder .*documents"):
        read_dataset(own)
    (own / "documents").mkdir()
    with pytest.raises(InvalidInputError, match="holds no document that can be read"):
        read_dataset(own)
