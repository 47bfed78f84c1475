"""Chunks cover the text once, slice back exactly, keep to the limit, and break where readers would."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from ingest.chunking import chunk_document
from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import format_of, parse
from rag.documents import Block, BlockKind, Chunk, Document, Locator
from rag.errors import ParseError
from rag.protocols import Tokenizer
from rag.settings import load_settings
from tests.fakes import WordTokenizer
from tests.ingest.made import SAMPLES

PARSING = ParserLimits(20_000_000, 5000)


class VendorTokenizer:
    """A tokenizer of the `tokenizers` library behind the protocol."""

    def __init__(self, model: tokenizers.Tokenizer) -> None:
        self._model = model

    def count(self, text: str) -> int:
        return len(self._model.encode(text, add_special_tokens=False))

    def offsets(self, text: str) -> list[tuple[int, int]]:
        return [span for span in self._model.encode(text, add_special_tokens=False).offsets if span[1] > span[0]]


@cache
def byte_pairs() -> VendorTokenizer:
    """Several tokens in one character, and merges that a cut undoes: what a slice counts is not what the pass saw."""
    model = tokenizers.Tokenizer(BPE())
    model.pre_tokenizer = ByteLevel(add_prefix_space=False)
    words = "the quick brown fox jumps over the lazy dog aaaa aaaaaaaa ----------"
    alphabet = ByteLevel.alphabet()
    model.train_from_iterator([words] * 10, BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    return VendorTokenizer(model)


class ContextualTokenizer(WordTokenizer):
    """Sees one token in a pair of words of a long text and two in a slice of it, as merges over a cut would have it."""

    def offsets(self, text: str) -> list[tuple[int, int]]:
        spans = super().offsets(text)
        return spans[::2] if len(spans) > 100 else spans


@pytest.fixture(scope="session")
def embedder_tokenizer() -> VendorTokenizer:
    """The default embedder's own, where its files are."""
    path = load_settings().models_dir / "BAAI" / "bge-small-en-v1.5" / "tokenizer.json"
    if not path.is_file():
        pytest.skip(f"no tokenizer at {path}; `quoth models` says how it comes there")
    model = tokenizers.Tokenizer.from_file(str(path))
    model.no_truncation()
    model.no_padding()
    return VendorTokenizer(model)


def cut(document: Document, limit: int = 32, tokenizer: Tokenizer | None = None, *, titled: bool = True) -> list[Chunk]:
    return chunk_document(document, "document", "generation", tokenizer or WordTokenizer(), limit, titled=titled)


def check(document: Document, chunks: Sequence[Chunk], limit: int, tokenizer: Tokenizer) -> None:
    position = 0
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal
        assert chunk.text == document.text[chunk.char_start : chunk.char_end]
        assert chunk.text == chunk.text.strip() != ""
        assert not document.text[position : chunk.char_start].strip(), "text that is in no chunk"
        assert position <= chunk.char_start
        position = chunk.char_end
        assert tokenizer.count(chunk.embedded_text) <= limit
        for line in chunk.prefix.split("\n"):
            assert not line or tokenizer.count(f"{line}\n") <= limit // 4
        if chunk.locator.lines and not chunk.locator.entry:
            first = len(re.split(r"\r\n|\n|\r", document.text[: chunk.char_start]))
            assert chunk.locator.lines == (first, first + len(re.split(r"\r\n|\n|\r", chunk.text)) - 1)
    assert not document.text[position:].strip()
    assert len({chunk.id for chunk in chunks}) == len(chunks)


def document_of(*parts: tuple[BlockKind, str], title: str = "T") -> Document:
    """A document of these blocks, joined by blank lines; headings open a path of one level."""
    text = ""
    blocks: list[Block] = []
    headings: tuple[str, ...] = ()
    for number, (kind, content) in enumerate(parts, 1):
        headings = (content,) if kind == "heading" else headings
        text += "\n\n" if text else ""
        blocks.append(Block(len(text), len(text) + len(content), kind, headings, Locator(page=number)))
        text += content
    return Document(title, text, tuple(blocks), "text/plain")


def words(count: int, name: str = "w") -> str:
    return " ".join(f"{name}{number}" for number in range(count))


KINDS: list[BlockKind] = ["heading", "paragraph", "list", "table", "code", "quote"]
TEXTS = st.lists(
    st.sampled_from(
        ["word", " ", "  ", "\n", "\n\n", ". ", "a" * 50, "|", "-", "- ", "é", "。", "\U0001f600", "…", "!"]
    ),
    max_size=60,
).map("".join)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Any text, with blocks over any parts of it, as long as they are in order."""
    text = draw(TEXTS)
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=20, unique=True)))
    blocks = []
    for start, end in zip(places[::2], places[1::2], strict=False):
        shown = text[start:end]
        begin = start + len(shown) - len(shown.lstrip())
        if shown.strip():
            headings = tuple(draw(st.lists(st.sampled_from(["One", "Two " * 9, "x" * 99]), max_size=3)))
            blocks.append(Block(begin, begin + len(shown.strip()), draw(st.sampled_from(KINDS)), headings))
    return Document(draw(st.sampled_from(["", "Title", "Very long " * 30])), text, tuple(blocks), "text/plain")


@pytest.mark.parametrize("name", ["words", "byte pairs"])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(document=documents(), limit=st.sampled_from([32, 40, 256]), titled=st.booleans())
def test_any_document_is_covered_once_within_the_limit(name: str, document: Document, limit: int, titled: bool) -> None:
    tokenizer: Tokenizer = WordTokenizer() if name == "words" else byte_pairs()
    chunks = cut(document, limit, tokenizer, titled=titled)
    check(document, chunks, limit, tokenizer)
    assert cut(document, limit, tokenizer, titled=titled) == chunks


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(document=documents(), limit=st.sampled_from([32, 40, 256]), titled=st.booleans())
def test_any_document_by_the_embedders_tokenizer(
    embedder_tokenizer: VendorTokenizer, document: Document, limit: int, titled: bool
) -> None:
    check(document, cut(document, limit, embedder_tokenizer, titled=titled), limit, embedder_tokenizer)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_format(name: str) -> None:
    document = parse(SAMPLES[name], name, PARSING)
    for tokenizer in (WordTokenizer(), byte_pairs()):
        check(document, cut(document, 32, tokenizer), 32, tokenizer)


@pytest.mark.parametrize("text", ["x" * 1_000_000, "word. " * 170_000, "字" * 300_000, ". " * 200_000, "-" * 500_000])
def test_long_texts_without_structure(text: str) -> None:
    document = Document("T", text, (Block(0, len(text.rstrip()), "paragraph"),), "text/plain")
    chunks = cut(document, 256)
    check(document, chunks, 256, WordTokenizer())
    assert max(len(chunk.text) for chunk in chunks) <= 256 * 16


def test_a_long_line_is_cut_by_a_tokenizer_of_bytes() -> None:
    text = "x" * 100_000
    document = Document("T", text, (Block(0, len(text), "paragraph"),), "text/plain")
    check(document, cut(document, 64, byte_pairs()), 64, byte_pairs())


def test_a_slice_that_has_more_tokens_than_the_whole_showed_in_it_is_made_shorter() -> None:
    document = document_of(("paragraph", words(500)))
    chunks = cut(document, 32, ContextualTokenizer())
    check(document, chunks, 32, ContextualTokenizer())
    assert len(chunks) < 40


def test_a_document_without_text_has_no_chunks() -> None:
    assert cut(Document("T", " \n ", (), "text/plain")) == []


def test_small_blocks_share_a_chunk() -> None:
    chunks = cut(document_of(("paragraph", "one"), ("list", "- two"), ("paragraph", "three")))
    assert [chunk.text for chunk in chunks] == ["one\n\n- two\n\nthree"]
    assert chunks[0].locator == Locator(page=1, page_end=3)


def test_a_heading_begins_a_chunk() -> None:
    chunks = cut(document_of(("heading", "A"), ("paragraph", words(6)), ("heading", "B"), ("paragraph", words(6))))
    assert [(chunk.prefix, chunk.headings, chunk.text.split()[0]) for chunk in chunks] == [
        ("T > A", ("A",), "A"),
        ("T > B", ("B",), "B"),
    ]


def test_a_heading_joins_what_is_tiny() -> None:
    chunks = cut(document_of(("heading", "A"), ("paragraph", "b"), ("heading", "C"), ("paragraph", words(6))))
    assert len(chunks) == 1


def test_a_heading_stays_with_what_follows() -> None:
    document = document_of(("paragraph", words(20)), ("heading", "A"), ("heading", "B"), ("paragraph", words(20)))
    assert [chunk.text.split()[0] for chunk in cut(document)] == ["w0", "A"]
    document = document_of(("paragraph", "tiny"), ("heading", words(12, "h")), ("paragraph", words(60)))
    assert "w0" in cut(document)[0].text


@pytest.mark.parametrize("kind", ["table", "code"])
def test_tables_and_code_that_fit_are_never_cut(kind: BlockKind) -> None:
    body = "\n".join(words(4, f"row{number}") for number in range(5))
    document = document_of(("paragraph", words(10)), (kind, body), ("paragraph", words(30)))
    assert sum(body in chunk.text for chunk in cut(document)) == 1


def test_a_table_that_does_not_fit_takes_its_heading_along() -> None:
    table = "\n".join(words(4, f"row{number}") for number in range(12))
    document = document_of(("paragraph", words(7)), ("heading", "A B"), ("table", table), title=words(10, "title"))
    assert [chunk.text for chunk in cut(document, 64)] == [words(7), f"A B\n\n{table}"]


def test_a_long_table_is_cut_between_rows_and_long_code_at_blank_lines() -> None:
    rows = "\n".join(f"row {number} . x" for number in range(40))
    assert all(chunk.text.startswith("row") for chunk in cut(document_of(("table", rows))))
    functions = "\n\n".join(f"def f{number}\nbody a b c d\nend" for number in range(20))
    assert all(chunk.text.startswith("def") for chunk in cut(document_of(("code", functions))))


HEADER = "| name | value |"


def table_of(count: int, header: str = HEADER) -> str:
    return "\n".join([header, "| --- | --- |", *(f"| row{number} | {number} |" for number in range(count))])


def test_each_part_of_a_long_table_has_its_header_in_the_prefix() -> None:
    chunks = cut(document_of(("heading", "A"), ("table", table_of(60)), ("paragraph", words(60))), 64)
    parts = [chunk for chunk in chunks if chunk.text.startswith("| row")]
    assert len(parts) > 3
    assert {chunk.prefix for chunk in parts} == {f"T > A\n{HEADER}"}
    others = [chunk.prefix for chunk in chunks if chunk not in parts]
    assert set(others) == {"T > A"}
    assert HEADER in chunks[0].text
    assert all(chunk.text.count("\n") >= 2 for chunk in parts[:-1]), "the header leaves room for rows"


def test_a_header_stands_alone_without_a_heading_and_is_not_a_drawn_line() -> None:
    table = "\n".join(["===== =====", "name  value", "===== =====", *(f"row{n}  {n}" for n in range(60))])
    chunks = cut(document_of(("table", table)), titled=False)
    assert [chunk.prefix for chunk in chunks[1:]] == ["name  value"] * (len(chunks) - 1)
    assert chunks[0].prefix == ""


def test_a_chunk_that_begins_before_the_header_does_not_repeat_it() -> None:
    table = "\n".join(["- " * 60, "name value", *(f"row{n} {n}" for n in range(40))])
    chunks = cut(document_of(("table", table)))
    at = next(chunk.ordinal for chunk in chunks if "name value" in chunk.text)
    assert at > 0
    assert {chunk.prefix for chunk in chunks[: at + 1]} == {"T"}
    assert {chunk.prefix for chunk in chunks[at + 1 :]} == {"T\nname value"}


def test_a_header_longer_than_its_share_is_left_out() -> None:
    chunks = cut(document_of(("table", table_of(40, header=f"| {words(20)} | b |"))), 64)
    assert {chunk.prefix for chunk in chunks} == {"T"}


def test_a_table_that_fits_has_no_header_in_its_prefix() -> None:
    chunks = cut(document_of(("paragraph", words(40)), ("table", table_of(3))), 64)
    assert [chunk.prefix for chunk in chunks] == ["T", "T"]


def test_a_long_list_is_cut_between_its_items() -> None:
    items = [f"- {words(7)}.\n\n  {words(7)}. New sentence\n  {words(3)}" for _ in range(12)]
    chunks = cut(document_of(("list", "\n".join(items))), 64)
    assert len(chunks) > 4
    assert all(chunk.text.startswith("- ") for chunk in chunks)


def test_the_name_of_a_file_is_not_embedded() -> None:
    document = document_of(("paragraph", "text"), ("heading", "A"), ("paragraph", words(20)), title="report-final")
    assert [chunk.prefix for chunk in cut(document, 16, titled=False)][-1] == "A"
    renamed = replace(document, title="report-final-2")
    assert cut(document, titled=False) == cut(renamed, titled=False)
    assert cut(document) != cut(renamed)


def located(*parts: tuple[str, Locator]) -> Document:
    text, blocks = "", []
    for content, locator in parts:
        text += "\n\n" if text else ""
        blocks.append(Block(len(text), len(text) + len(content), "paragraph", (), locator))
        text += content
    return Document("T", text, tuple(blocks), "text/plain")


@pytest.mark.parametrize("field", ["sheet", "entry"])
def test_no_chunk_reaches_into_another_sheet_or_entry(field: str) -> None:
    document = located(*((name, Locator.from_dict({field: name[0]})) for name in ("a1", "a2", "b1", "a3")))
    chunks = cut(document)
    assert [chunk.text for chunk in chunks] == ["a1\n\na2", "b1", "a3"]
    assert [getattr(chunk.locator, field) for chunk in chunks] == ["a", "b", "a"]


@pytest.mark.parametrize("field", ["slide", "cell"])
def test_a_slide_or_cell_begins_a_chunk_unless_the_one_before_is_tiny(field: str) -> None:
    contents = [words(6), "tiny", words(6), words(6)]
    document = located(*((text, Locator.from_dict({field: number})) for number, text in enumerate(contents, 1)))
    chunks = cut(document)
    assert [chunk.text for chunk in chunks] == [contents[0], f"tiny\n\n{contents[2]}", contents[3]]
    assert [getattr(chunk.locator, field) for chunk in chunks] == [1, 2, 4]
    at = len("tiny\n\n")
    assert getattr(chunks[1].place_of(at, at + 2)[1], field) == 3


def test_rows_are_told_exactly() -> None:
    rows = "\n".join(f"row {number} {words(4)}" for number in range(10, 30))
    document = Document(
        "T",
        f"Totals\n\n{rows}",
        (
            Block(0, 6, "heading", ("Totals",), Locator(sheet="S")),
            Block(8, 8 + len(rows), "table", ("Totals",), Locator(sheet="S", rows=(10, 29))),
        ),
        "text/csv",
    )
    chunks = cut(document)
    check(document, chunks, 32, WordTokenizer())
    assert len(chunks) > 3
    for chunk in chunks:
        numbers = [int(number) for number in re.findall(r"row (\d+)", chunk.text)]
        assert chunk.locator == Locator(sheet="S", rows=(numbers[0], numbers[-1]))
        for number in numbers:
            at = chunk.text.index(f"row {number}")
            assert chunk.place_of(at, at + 6)[1].rows == (number, number)
        both = chunk.place_of(chunk.text.index(f"row {numbers[0]}"), len(chunk.text))[1]
        assert both.rows == (numbers[0], numbers[-1])


def test_lines_of_an_entry_count_from_its_own_beginning() -> None:
    inner = f"one\n{words(40)}\nthree"
    document = located(("mail", Locator(lines=(1, 1))), (inner, Locator(entry="a.txt", lines=(5, 7))))
    chunks = cut(document)
    assert [chunk.locator.lines for chunk in chunks] == [(1, 1), (5, 6), (6, 7)]
    assert chunks[-1].place_of(len(chunks[-1].text) - 3, len(chunks[-1].text))[1].lines == (7, 7)


def test_prose_is_cut_between_sentences_though_its_lines_are_wrapped() -> None:
    text = " ".join(f"This is sentence\nnumber {number} of many, e.g. the Greek." for number in range(20))
    assert all(chunk.text.startswith("This") for chunk in cut(document_of(("paragraph", text))))


def test_text_between_blocks_is_not_lost() -> None:
    document = Document("T", "lost one\n\nin block\n\nlost two", (Block(10, 18, "paragraph"),), "text/plain")
    assert "".join(chunk.text for chunk in cut(document)) == document.text


def test_the_prefix_takes_a_quarter_at_most_and_drops_outer_headings_first() -> None:
    headings = (words(9, "outer"), "inner")
    document = Document("Title", "text", (Block(0, 4, "paragraph", headings),), "text/plain")
    assert cut(document, 32)[0].prefix == "Title > inner"
    assert cut(document, 64)[0].prefix == f"Title > {headings[0]} > inner"
    long = Document(words(50), "text", (Block(0, 4, "paragraph"),), "text/plain")
    assert cut(long, 32)[0].prefix == words(8)


def test_ids_depend_on_document_and_generation_alone() -> None:
    document = document_of(("paragraph", words(100)))
    ids = [chunk.id for chunk in cut(document)]
    assert ids == [chunk.id for chunk in cut(document)]
    other = chunk_document(document, "document", "other", WordTokenizer(), 32)
    assert not set(ids) & {chunk.id for chunk in other}


@pytest.mark.slow
def test_real_folders_with_the_embedders_tokenizer(collections: Path, embedder_tokenizer: VendorTokenizer) -> None:
    parsed = 0
    for path in sorted((collections / "folders").rglob("*")):
        if not path.is_file() or format_of(path.name) is None:
            continue
        try:
            document = parse(path.read_bytes(), path.name, PARSING)
        except ParseError:
            continue
        parsed += 1
        check(document, cut(document, 254, embedder_tokenizer), 254, embedder_tokenizer)
    assert parsed > 100


def check_overlap(document: Document, chunks: Sequence[Chunk], limit: int, overlap: int, tokenizer: Tokenizer) -> None:
    """Every character is covered; each chunk goes on from the one before, which shares no more with it than it may."""
    covered = 0
    for before, chunk in zip([None, *chunks], chunks, strict=False):
        assert chunk.text == document.text[chunk.char_start : chunk.char_end]
        assert tokenizer.count(chunk.embedded_text) <= limit
        if before is not None:
            assert before.char_start < chunk.char_start
            assert before.char_end < chunk.char_end
        if chunk.char_start < covered:
            assert tokenizer.count(document.text[chunk.char_start : covered]) <= overlap
            edge = document.text[chunk.char_start - 1 : chunk.char_start + 1]
            begins_block = any(chunk.char_start in (block.start, block.end) for block in document.blocks)
            assert begins_block or not edge.isalnum()
        else:
            assert not document.text[covered : chunk.char_start].strip()
        covered = chunk.char_end
    assert not document.text[covered:].strip()


@pytest.mark.parametrize("name", ["words", "byte pairs"])
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(document=documents(), limit=st.sampled_from([32, 40, 128]), overlap=st.integers(0, 64))
def test_any_document_overlaps_by_what_it_may_and_slices_back(
    name: str, document: Document, limit: int, overlap: int
) -> None:
    overlap = min(overlap, limit // 2)
    tokenizer: Tokenizer = WordTokenizer() if name == "words" else byte_pairs()
    chunks = chunk_document(document, "document", "generation", tokenizer, limit, overlap_tokens=overlap)
    check_overlap(document, chunks, limit, overlap, tokenizer)
    plain = chunk_document(document, "document", "generation", tokenizer, limit)
    if overlap == 0:
        assert chunks == plain
    for chunk in chunks:  # a citation of any part tells the place that the whole text tells
        headings, locator = chunk.place_of(0, len(chunk.text))
        assert (headings, locator.lines) == (chunk.headings, chunk.locator.lines)


def test_prose_overlaps_by_whole_sentences() -> None:
    sentences = [f"Sentence {number} tells of thing {number}." for number in range(60)]
    document = document_of(("paragraph", " ".join(sentences)))
    chunks = chunk_document(document, "d", "g", WordTokenizer(), 64, overlap_tokens=16)
    check_overlap(document, chunks, 64, 16, WordTokenizer())
    assert len(chunks) > 5
    for before, chunk in pairwise(chunks):
        shared = document.text[chunk.char_start : before.char_end]
        assert re.fullmatch(r"(Sentence \d+ tells of thing \d+\. ?){2}", shared), shared


def test_a_sentence_longer_than_the_overlap_is_shared_from_a_word_on() -> None:
    document = document_of(("paragraph", words(400)))
    chunks = chunk_document(document, "d", "g", WordTokenizer(), 50, overlap_tokens=20)
    shared = [document.text[chunk.char_start : before.char_end] for before, chunk in pairwise(chunks)]
    assert {len(each.split()) for each in shared} == {20}


@pytest.mark.parametrize("overlap", [4, 24])
def test_nothing_is_shared_over_a_heading_or_with_another_sheet(overlap: int) -> None:
    parts = [
        part for number in range(4) for part in (("heading", f"Part {number}"), ("paragraph", words(60, f"p{number}x")))
    ]
    document = document_of(*parts)  # type: ignore[arg-type]
    chunks = chunk_document(document, "d", "g", WordTokenizer(), 48, overlap_tokens=overlap)
    for number in range(4):
        mine = [chunk for chunk in chunks if f"p{number}x" in chunk.text]
        assert not any(f"p{other}x" in chunk.text for chunk in mine for other in range(4) if other != number)
        assert len(mine) > 1
    sheets = located(*((words(40, f"s{name}x"), Locator(sheet=name)) for name in "ab"))
    for chunk in chunk_document(sheets, "d", "g", WordTokenizer(), 32, overlap_tokens=min(overlap, 16)):
        assert ("sax" in chunk.text) != ("sbx" in chunk.text)


def test_overlapping_parts_of_a_table_tell_their_own_rows() -> None:
    rows = 80
    text = table_of(rows)
    block = Block(0, len(text), "table", (), Locator(rows=(1, text.count("\n") + 1)))
    document = Document("T", text, (block,), "text/csv")
    chunks = chunk_document(document, "d", "g", WordTokenizer(), 64, overlap_tokens=24)
    lines = text.split("\n")
    assert len(chunks) > 3
    assert any(later.char_start < before.char_end for before, later in pairwise(chunks))
    for chunk in chunks:
        assert chunk.locator.rows is not None
        first, last = chunk.locator.rows
        assert chunk.text.split("\n") == lines[first - 1 : last]
