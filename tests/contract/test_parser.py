"""What every parser keeps to, whatever the file."""

import re
from pathlib import PurePath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import FORMATS, format_of, parse, supported_suffixes
from ingest.parsers.wire import decode_reply, encode_document
from rag.documents import Document
from rag.errors import ParseError
from tests.ingest.samples import PICTURE, SAMPLES

LIMITS = ParserLimits(max_characters=1_000_000, max_pages=100)
NEVER_IN_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
SUFFIXES = supported_suffixes()


def check(document: Document) -> None:
    """Everything that chunks, citations and the ledger rely on."""
    assert document.title.strip() == document.title != ""
    assert not NEVER_IN_TEXT.search(document.title + document.text)
    assert document.text.strip()
    position = 0
    for block in document.blocks:
        assert position <= block.start < block.end <= len(document.text)
        shown = document.text[block.start : block.end]
        assert shown == shown.strip()
        assert not document.text[position : block.start].strip(), "text between two blocks"
        position = block.end
        assert all(heading.strip() and "\n" not in heading for heading in block.headings)
        lines = block.locator.lines
        if lines and not block.locator.entry:
            before = re.split(r"\r\n|\n|\r", document.text[: block.start])
            assert lines == (len(before), len(before) + len(re.split(r"\r\n|\n|\r", shown)) - 1)
    assert not document.text[position:].strip()
    assert decode_reply(encode_document(document)) == document


def test_there_is_a_sample_of_every_format() -> None:
    assert {format_of(name) for name in (*SAMPLES, PICTURE[0])} == set(FORMATS)


def test_recipes_are_told_apart() -> None:
    assert len({entry.recipe for entry in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_keeps_to_the_contract(name: str) -> None:
    document = parse(SAMPLES[name], name, LIMITS)
    check(document)
    assert "Opening" in document.text
    assert parse(SAMPLES[name], name, LIMITS) == document


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "guide.zip"])
def test_too_much_text_is_refused(name: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(SAMPLES[name], name, ParserLimits(max_characters=5, max_pages=100))
    assert caught.value.reason == "too_long"


BLANK = [b" \n\t\r\n ", b"\xef\xbb\xbf"]
BLANK_MARKUP = b"<html><body> </body></html>"


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        *((suffix, data) for suffix in SUFFIXES for data in BLANK),
        *((suffix, BLANK_MARKUP) for suffix in (".html", ".htm", ".xhtml", ".pdf", ".docx")),
    ],
)
def test_a_file_without_text_is_never_a_document(suffix: str, data: bytes) -> None:
    with pytest.raises(ParseError) as caught:
        parse(data, f"blank{suffix}", LIMITS)
    assert caught.value.reason in ("no_text", "wrong_type")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(suffix=st.sampled_from(SUFFIXES), data=st.binary(max_size=400))
def test_any_bytes_are_a_document_or_a_parse_error(suffix: str, data: bytes) -> None:
    try:
        document = parse(data, f"any{suffix}", LIMITS)
    except ParseError:
        return
    check(document)


MARKUP = st.lists(
    st.sampled_from(
        [
            "# ", "## a", "\n", "\n\n", "\r\n", "\r", "```", "~~~\n", "| a | b |\n", "|--|--|\n", "- x", "  ", "    ",
            "1. y", "> q", "===", "\n---\n", "+++", "title: t\n", "[a](b)", "{#c}", "..", ".. code::\n", "::", "``",
            "+--+\n", "== ==\n", "<p>", "</p>", "<ul>", "<li>", "</ul>", "<table>", "<tr>", "<td>", "</table>", "<pre>",
            "</pre>", "<h1>", "</h1>", "<h3>", "<br>", "<nav>", "<blockquote>", "<!--", "-->", "&amp;", "\u2028",
            "\x85", "\x00", "\ufeff", "word", "Ünïcödé", "\U0001f600",
        ]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(suffix=st.sampled_from([".md", ".txt", ".rst", ".html"]), markup=MARKUP)
def test_any_markup_is_a_document_or_a_parse_error(suffix: str, markup: str) -> None:
    try:
        document = parse(markup.encode(), f"any{suffix}", LIMITS)
    except ParseError as error:
        assert error.reason in ("no_text", "binary", "wrong_type")
        return
    check(document)


@pytest.mark.parametrize("name", ["guide.pdf", "guide.docx"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_file_is_a_document_or_a_parse_error(name: str, data: st.DataObject) -> None:
    whole = bytearray(SAMPLES[name])
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        document = parse(bytes(whole[:cut] if data.draw(st.booleans()) else whole), name, LIMITS)
    except ParseError:
        return
    check(document)


@pytest.mark.parametrize("name", ["a.exe", "no_suffix", ".md", "x.md.gz"])
def test_what_no_parser_reads_is_unsupported(name: str) -> None:
    assert format_of(name) is None
    with pytest.raises(ParseError) as caught:
        parse(b"x", name, LIMITS)
    assert caught.value.reason == "unsupported"


@pytest.mark.parametrize("name", ["README", "licence", "A.MD", "b.Pdf"])
def test_names_are_read_without_regard_to_case(name: str) -> None:
    assert format_of(name) is not None
    assert PurePath(name).name == name
