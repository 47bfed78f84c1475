"""For every format: blocks and chunks slice the canonical text exactly, lose nothing, and lie where they say."""

import csv
import io
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.chunking import chunk_document
from ingest.parsers.decoding import decode
from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import parse
from rag.documents import Chunk, Document
from rag.errors import ParseError
from tests.fakes import WordTokenizer
from tests.ingest.made import SAMPLES
from tests.ingest.made_office import OFFICE_SAMPLES

LIMITS = ParserLimits(max_characters=1_000_000, max_pages=100)
TOKENIZER = WordTokenizer()
TEXTS = {
    "a.md": SAMPLES["guide.md"],
    "a.rst": SAMPLES["guide.rst"],
    "a.html": SAMPLES["guide.html"],
    "a.txt": SAMPLES["guide.txt"],
    "a.adoc": b"= Guide\n\nOpening words.\n\n== Install\n\n* one\n* two\n\n----\ncode\n\nmore\n----\n\n"
    b"|===\n|a |b\n|===\n",
    "a.py": b'"""Doc."""\n\nimport os\n\n# of f\n@wraps\ndef f():\n    return 1\n\n\n'
    b"class A:\n    def m(self):\n        pass\n",
    "a.ts": b"/** d */\nexport class A {\n  m(): void { if (x) { y(); } }\n}\n\nconst g = () => `t`;\n",
    "a.c": b"#include <a.h>\n\n/* f */\nint f(int a) {\n  return a;\n}\n\nstruct S { int a; };\n",
    "a.rb": b"# doc\nmodule M\n  class A\n    def m\n    end\n  end\nend\n",
    "a.sql": b"SELECT 1\nFROM a;\n\n-- two\nSELECT 2;\n",
    "a.csv": b'id,name,note\n1,one,"a, b"\n2,two,\n\n3,three,"two\nlines"\n',
    "a.json": b'{"title": "Guide", "items": [{"a": 1, "b": "words of it"}, {"a": 2}],\n "deep": {"x": [1, 2, 3]}}\n',
    "a.jsonl": b'{"a": 1, "b": "words"}\n{"a": 2}\n\n{"a": 3, "b": "more words"}\n',
    "a.xml": b'<?xml version="1.0"?>\n<guide><title>Guide</title>\n<p>Opening <b>words</b>.</p><p>Last.</p></guide>\n',
}
NOISE = ["\n", "\r\n", "\r", "\n\n", " ", "\t", "| a | b |\n| - | - |\n", "```\n", "# H\n", "é字\U0001f600", "x" * 60,
         "{", "}", "(", "<", ">", '"', "'", ",", "\\", "word. Word", "- item\n", "\x0c", "\x85", "\u2028"]  # fmt: skip
_BREAK = re.compile(r"\r\n|\n|\r")


def line_at(text: str, place: int) -> int:
    return len(_BREAK.split(text[:place]))


def check_blocks(document: Document) -> None:
    position = 0
    for block in document.blocks:
        assert position <= block.start < block.end <= len(document.text)
        assert document.text[block.start : block.end].strip()
        if block.locator.rows:
            first, last = block.locator.rows
            assert 1 <= first <= last
            assert last - first == document.text.count("\n", block.start, block.end)
        position = block.end


def check_chunks(document: Document, chunks: list[Chunk], limit: int) -> None:
    position = 0
    for chunk in chunks:
        assert chunk.text == document.text[chunk.char_start : chunk.char_end] != ""
        assert chunk.char_start >= position
        assert not document.text[position : chunk.char_start].strip(), "text that is in no chunk"
        assert TOKENIZER.count(chunk.embedded_text) <= limit
        assert len({(block.locator.sheet, block.locator.entry) for block in chunk.blocks}) == 1
        position = chunk.char_end
    assert not document.text[position:].strip()


def check_lines(document: Document, chunk: Chunk, source: str) -> None:
    """`source` is the file, and the document's text too."""
    assert chunk.locator.lines is not None
    first, last = chunk.locator.lines
    lines = _BREAK.split(source)
    assert _BREAK.split(chunk.text)[0] in lines[first - 1]
    assert _BREAK.split(chunk.text)[-1] in lines[last - 1]
    assert (first, last) == (line_at(source, chunk.char_start), line_at(source, chunk.char_end))


def check_places(document: Document, chunk: Chunk, draw: st.DataObject, source: str | None) -> None:
    """A span of a chunk is placed within the chunk, and in the lines that it lies in."""
    shown = [at for at, character in enumerate(chunk.text) if not character.isspace()]
    start = draw.draw(st.sampled_from(shown))
    end = draw.draw(st.sampled_from([at for at in shown if at >= start])) + 1
    headings, locator = chunk.place_of(start, end)
    within = [block for block in chunk.blocks if block.start < chunk.char_start + end]
    assert headings in [block.headings for block in within]
    if source is not None:
        place = chunk.char_start
        assert locator.lines == (line_at(source, place + start), line_at(source, place + end))
    for whole, part in ((chunk.locator.lines, locator.lines), (chunk.locator.rows, locator.rows)):
        if whole and part and not locator.entry and locator.cell == chunk.locator.cell:
            assert whole[0] <= part[0] <= part[1] <= whole[1]


def check(data: bytes, name: str, limit: int, draw: st.DataObject) -> None:
    document = parse(data, name, LIMITS)
    check_blocks(document)
    chunks = chunk_document(document, "d", "g", TOKENIZER, limit)
    check_chunks(document, chunks, limit)
    is_text = name in TEXTS and document.text == decode(data)
    has_lines = is_text and bool(document.blocks) and all(block.locator.lines for block in document.blocks)
    for chunk in chunks:
        if has_lines:
            check_lines(document, chunk, document.text)
        check_places(document, chunk, draw, document.text if has_lines else None)


@pytest.mark.parametrize("name", [*SAMPLES, *OFFICE_SAMPLES, *TEXTS])
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_samples(name: str, draw: st.DataObject) -> None:
    data = {**SAMPLES, **OFFICE_SAMPLES, **TEXTS}[name]
    check(data, name, draw.draw(st.sampled_from([8, 12, 32, 256])), draw)


@st.composite
def mutated(draw: st.DrawFn, name: str) -> bytes:
    """Pieces of the format's own sample and of noise, in any order."""
    text = TEXTS[name].decode()
    pieces = []
    for _ in range(draw(st.integers(1, 8))):
        if draw(st.booleans()):
            begin = draw(st.integers(0, len(text) - 1))
            pieces.append(text[begin : draw(st.integers(begin, len(text)))])
        else:
            pieces.append(draw(st.sampled_from(NOISE)))
    return "".join([text, *pieces] if draw(st.booleans()) else pieces).encode()


@pytest.mark.parametrize("name", TEXTS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_mutated_texts(name: str, draw: st.DataObject) -> None:
    data = draw.draw(mutated(name))
    try:
        check(data, name, draw.draw(st.sampled_from([8, 12, 32])), draw)
    except ParseError as error:
        assert name.endswith((".json", ".jsonl", ".xml", ".html", ".csv")) or error.reason in ("no_text", "binary")


@settings(max_examples=50, deadline=None)
@given(
    cells=st.lists(
        st.lists(st.sampled_from(["", "word", "two words", "a,b", "é"]), min_size=2, max_size=2), min_size=2
    ),
    limit=st.sampled_from([16, 32, 64]),
)
def test_rows_of_a_table_are_its_records(cells: list[list[str]], limit: int) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["key", "one", "two"], *([f"k{n}", *row] for n, row in enumerate(cells, 2))])
    document = parse(out.getvalue().encode(), "a.csv", LIMITS)
    check_blocks(document)
    chunks = chunk_document(document, "d", "g", TOKENIZER, limit)
    check_chunks(document, chunks, limit)
    for chunk in chunks:
        keys = [(found.start(), int(found.group(1))) for found in re.finditer(r"^k(\d+)", chunk.text, re.MULTILINE)]
        rows = [number for _, number in keys]
        assert chunk.locator.rows is not None
        if rows:
            assert chunk.locator.rows == (rows[0] if re.match(r"k\d", chunk.text) else 1, rows[-1])
        for at, number in keys:
            assert chunk.place_of(at, at + 2)[1].rows == (number, number)
