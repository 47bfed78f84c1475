"""The example documents: every kind of file is there and holds text, and the questions have their answers in them."""

import json
import zipfile
from pathlib import Path

import pypdfium2 as pdfium
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
QUESTIONS = json.loads(Path(__file__).with_name("example_questions.json").read_text(encoding="utf-8"))
FILES = sorted(path for path in EXAMPLES.rglob("*") if path.is_file())


def of_kind(suffix: str) -> list[Path]:
    return [path for path in FILES if path.suffix == suffix]


def name(path: Path) -> str:
    return path.relative_to(EXAMPLES).as_posix()


def test_there_are_enough_examples_and_not_too_many() -> None:
    assert 15 <= len(FILES) <= 30


@pytest.mark.parametrize("suffix", [".md", ".html", ".pdf", ".docx", ".txt"])
def test_every_kind_of_file_is_present(suffix: str) -> None:
    assert of_kind(suffix)


@pytest.mark.parametrize("path", of_kind(".md") + of_kind(".html") + of_kind(".txt"), ids=name)
def test_a_text_file_is_utf8_and_not_empty(path: Path) -> None:
    assert path.read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("path", of_kind(".pdf"), ids=name)
def test_every_page_of_a_pdf_has_text(path: Path) -> None:
    with pdfium.PdfDocument(path) as document:
        assert len(document) > 0
        for index in range(len(document)):
            page = document[index]
            words = page.get_textpage()
            text = words.get_text_range()
            words.close()
            page.close()
            assert text.strip(), f"page {index + 1} has no text"


@pytest.mark.parametrize("path", of_kind(".docx"), ids=name)
def test_a_docx_holds_a_word_document(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert b"<w:t" in archive.read("word/document.xml")


def test_the_questions_are_complete_and_different() -> None:
    assert len(QUESTIONS) == 22
    assert len({one["question"] for one in QUESTIONS}) == 22
    assert all(set(one) == {"question", "file", "answer"} for one in QUESTIONS)
    assert all((one["file"] is None) == (one["answer"] is None) for one in QUESTIONS)
    assert sum(one["file"] is None for one in QUESTIONS) == 4


@pytest.mark.parametrize("one", [one for one in QUESTIONS if one["file"]], ids=lambda one: one["question"])
def test_an_answerable_question_names_a_file_that_exists_and_holds_the_answer(one: dict[str, str]) -> None:
    path = EXAMPLES / one["file"]
    assert path.is_file()
    if path.suffix in {".md", ".txt"}:
        assert one["answer"] in " ".join(path.read_text(encoding="utf-8").split())
