"""What each parser makes of a small file that is known in full."""

import os

import pytest

from ingest.parsers.decoding import clean, decode
from ingest.parsers.headings import HeadingPath, without_markup
from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import parse
from rag.documents import Document, Locator
from rag.errors import ParseError
from tests.ingest.made import HTML, MARKDOWN, RST, SAMPLES, docx, pdf

LIMITS = ParserLimits(max_characters=1_000_000, max_pages=3)


def shown(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def headings_of(document: Document, words: str) -> tuple[str, ...]:
    return next(block.headings for block in document.blocks if words in document.text[block.start : block.end])


def reason(data: bytes, name: str) -> str:
    with pytest.raises(ParseError) as caught:
        parse(data, name, LIMITS)
    assert str(caught.value).endswith(".")
    return caught.value.reason


def test_markdown() -> None:
    document = parse(MARKDOWN, "g.md", LIMITS)
    assert document.title == "The Guide"
    assert document.text == MARKDOWN.decode()
    assert shown(document) == [
        ("code", '---\ntitle: "The *Guide*"\n---'),
        ("heading", "# Guide"),
        ("paragraph", "Opening words.\nMore of them."),
        ("heading", "## Install"),
        ("list", "1. one\n   - nested\n\n   still the item\n2. two"),
        ("code", "```sh\n# no heading\npip install\n\nquoth\n```"),
        ("table", "| key | value |\n| --- | --- |\n| a | 1 |"),
        ("heading", "Underlined\n----------"),
        ("quote", "> quoted\n> words"),
        ("code", "indented code"),
        ("paragraph", "Last."),
    ]
    assert headings_of(document, "nested") == ("Guide", "Install")
    assert headings_of(document, "Last.") == ("Guide", "Underlined")
    assert document.blocks[2].locator == Locator(lines=(7, 8))


def test_markdown_keeps_its_line_ends_and_drops_its_mark() -> None:
    document = parse(b"\xef\xbb\xbf# One\r\n\r\ntwo\r\nthree", "g.md", LIMITS)
    assert (document.title, document.text) == ("One", "# One\r\n\r\ntwo\r\nthree")
    assert [block.locator.lines for block in document.blocks] == [(1, 1), (3, 4)]


@pytest.mark.parametrize(
    ("markup", "read"),
    [
        ("[Text](a.md) and `code` ##", "Text and code ##"),
        ("**Bold** _x_ { #anchor }", "Bold _x_"),
        ("Install { .x }{#there}", "Install { .x }"),
        ("![logo](x.png) <b>Hi</b>", "logo Hi"),
        ("snake_case_name", "snake_case_name"),
    ],
)
def test_markup_in_headings(markup: str, read: str) -> None:
    assert without_markup(markup) == read


def test_heading_path_closes_deeper_levels() -> None:
    path = HeadingPath()
    assert path.enter(1, "a") == ("a",)
    assert path.enter(3, "c") == ("a", "c")
    assert path.enter(2, "b") == ("a", "b")
    assert path.enter(1, "z") == ("z",)


def test_restructured_text() -> None:
    document = parse(RST, "g.rst", LIMITS)
    assert document.title == "Guide"
    assert document.text == RST.decode()
    assert shown(document) == [
        ("paragraph", ".. _top:"),
        ("heading", "=====\nGuide\n====="),
        ("paragraph", "Opening words::"),
        ("code", "literal text\n\n    more of it"),
        ("heading", "Install\n-------"),
        ("code", ".. code-block:: sh\n\n    pip install quoth"),
        ("list", "* one\n\n* two\n  goes on"),
        ("table", "== ====\na  b\n== ====\n1  2\n== ===="),
        ("heading", "Deeper\n~~~~~~"),
        ("paragraph", "Last."),
    ]
    assert headings_of(document, "Last.") == ("Guide", "Install", "Deeper")


def test_html() -> None:
    document = parse(HTML, "g.html", LIMITS)
    assert document.title == "Guide"
    assert shown(document) == [
        ("heading", "Guide"),
        ("paragraph", "Opening & bold words."),
        ("heading", "Install"),
        ("list", "- one\n- two\n  - inner"),
        ("code", "pip  install\n  quoth"),
        ("table", "key | value\na | 1"),
        ("quote", "quoted\nwords"),
    ]
    assert headings_of(document, "inner") == ("Guide", "Install")


def test_html_that_is_navigation_only_is_read_all_the_same() -> None:
    document = parse(b"<nav><a>Home</a></nav><footer>imprint</footer>", "g.html", LIMITS)
    assert document.text == "Home\n\nimprint"


def test_html_tables_that_place_things_are_not_tables() -> None:
    document = parse(b"<table><tr><td><h2>A</h2>text</td><td>b</td></tr></table>", "g.html", LIMITS)
    assert shown(document) == [("heading", "A"), ("paragraph", "text"), ("paragraph", "b")]


def test_html_in_its_declared_charset() -> None:
    page = '<meta charset="windows-1251"><p>Привет</p>'.encode("windows-1251")
    assert parse(page, "g.html", LIMITS).text == "Привет"


def test_html_nested_too_deep_is_refused_before_it_takes_minutes() -> None:
    assert reason(b"<div>" * 200_000 + b"x", "g.html") == "too_deep"
    assert parse(b"<p>x" * 20_000, "g.html", LIMITS).text.count("x") == 20_000


def test_pdf() -> None:
    document = parse(SAMPLES["guide.pdf"], "g.pdf", LIMITS)
    assert document.title == "The Guide"
    assert document.text == "Guide\nOpening words.\n\nInstall\nType (this).\nLast."
    assert shown(document) == [
        ("heading", "Guide"),
        ("paragraph", "Opening words."),
        ("heading", "Install"),
        ("paragraph", "Type (this).\nLast."),
    ]
    assert headings_of(document, "Last.") == ("Install",)
    assert document.blocks[0].locator == Locator(page=1, page_label="i")
    assert document.blocks[-1].locator == Locator(page=3, page_label="iii")


def test_pdf_titles_that_tools_made_up_are_not_used() -> None:
    assert parse(pdf(["x"], title="Microsoft Word - draft.doc"), "my report.pdf", LIMITS).title == "my report"


def test_pdf_without_text() -> None:
    assert reason(pdf([""], image=True), "g.pdf") == "needs_ocr"
    assert reason(pdf([""]), "g.pdf") == "no_text"


def test_pdf_of_too_many_pages() -> None:
    assert reason(pdf(["x"] * 4), "g.pdf") == "too_long"


def test_docx() -> None:
    document = parse(SAMPLES["guide.docx"], "g.docx", LIMITS)
    assert document.title == "Guide"
    assert shown(document) == [
        ("heading", "# Guide"),
        ("paragraph", "Opening words."),
        ("heading", "## Install"),
        ("paragraph", "Last."),
    ]
    assert headings_of(document, "Last.") == ("Guide", "Install")
    assert document.blocks[0].locator == Locator()


def test_docx_keeps_what_looks_like_markup() -> None:
    text = "Let's swim! 2*3*4 a_b_c [1] ~x~ `y` back\\slash +1."
    assert parse(docx([(0, text)]), "g.docx", LIMITS).text == text


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "g.pdf", "wrong_type"),
        (b"%PDF-1.7 and nothing more", "g.pdf", "corrupt"),
        (b"<html>", "g.docx", "wrong_type"),
        (b"PK\x03\x04 and nothing more", "g.docx", "corrupt"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500), "g.docx", "encrypted"),
        (b"no markup at all", "g.html", "wrong_type"),
        (b"text\0text", "g.txt", "binary"),
        (b"text\0text", "g.md", "binary"),
    ],
)
def test_content_that_belies_the_name(data: bytes, name: str, expected: str) -> None:
    assert reason(data, name) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_decoded_with_and_without_a_mark(encoding: str) -> None:
    text = "Grüße an alle, naïve words.\n"
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Die Straße führt über den naïven Fluß; “quoted” – café.\n" * 3),
        ("shift_jis", "これは日本語の文章です。文字コードを判別します。\n" * 5),
        ("koi8-r", "Это русский текст, который нужно распознать правильно.\n" * 5),
    ],
)
def test_legacy_encodings_are_recognised(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_undecodable_bytes_lose_nothing_else() -> None:
    text = decode(b"plain words before \xff\xfe\xff\xc3 and plain words behind")
    assert text.startswith("plain words before ") and text.endswith(" and plain words behind")


def test_cleaning_keeps_offsets() -> None:
    assert clean("a\x00b\x1b\tc\n\ud800\uffff\x85é") == "a b \tc\n\ufffd\ufffd é"


def test_titles_of_names_that_are_no_text() -> None:
    name = os.fsdecode(b"re\xffport\x1b[31m\n.txt")
    assert parse(b"words", name, LIMITS).title == "re\ufffdport [31m"
