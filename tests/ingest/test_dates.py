"""A document's date: what its parser tells, else its file's, else what its user says above both."""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.attachments import Attachments
from ingest.doctor import Doctor
from ingest.parsers import dates, hypertext, markdown, pdf, slides, written
from ingest.parsers.dates import told_date
from ingest.parsers.limits import ParserLimits
from ingest.pipeline import Ingestor
from rag.assembly import Engine
from rag.dates import seconds_of
from rag.filter_text import parse_filter
from rag.settings import IngestSettings
from tests.fakes import BagOfWordsEmbedder, fake_engine
from tests.ingest import made, made_office
from tests.ingest.uploads import attach, make_store, upload, work

LIMITS = ParserLimits.of(IngestSettings())
CORE = (
    '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
    'xmlns:dcterms="http://purl.org/dc/terms/"><dcterms:created>2019-01-01T00:00:00Z</dcterms:created>'
    "<dcterms:modified>2020-02-03T04:05:06Z</dcterms:modified></cp:coreProperties>"
)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("2024-01-31", "2024-01-31"), (" 2024-01-31T09:30 ", "2024-01-31T09:30:00Z"),
        ("2024-01-31 09:30:15 +0200", "2024-01-31T07:30:15Z"), ("2024-01-31T09:30:15.123456Z", "2024-01-31T09:30:15Z"),
        ("D:20240131", "2024-01-31"), ("D:20240131093000+01'00'", "2024-01-31T08:30:00Z"),
        ("D:20240131093000Z00'00'", "2024-01-31T09:30:00Z"), ("D:20240131093000-05'30", "2024-01-31T15:00:00Z"),
        ("Wed, 31 Jan 2024 09:30:00 +0100", "2024-01-31T08:30:00Z"), ("2024-02-30", None), ("D:20241331", None),
        ("2024", None), ("yesterday", None), ("", None), (None, None), (7, None), ("0001-01-01T00:00:00+05:00", None),
        ("2024-01-31" * 20, None),
    ],
)  # fmt: skip
def test_dates_as_files_write_them(said: object, wanted: str | None) -> None:
    assert told_date(said) == ({} if wanted is None else {"date": wanted})
    assert told_date("nonsense", said, "1999-01-01") == {"date": wanted or "1999-01-01"}


@given(
    text=st.text(max_size=40) | st.from_regex(dates._PDF, fullmatch=True) | st.from_regex(dates._ISO, fullmatch=True)
)
def test_what_is_told_can_be_read(text: str) -> None:
    for found in told_date(text).values():
        assert seconds_of(found) is not None


def test_formats_tell_their_dates() -> None:
    front = b"---\ntitle: x\ndate: 2020-01-01\nlastmod: '2021-05-06'  # late\n---\n\n# Text\n"
    assert markdown.parse(front, "a", LIMITS).attributes == {"date": "2021-05-06"}
    assert markdown.parse(b"+++\ndate = 2020-01-01T10:00:00Z\n+++\nText\n", "a", LIMITS).attributes["date"] == (
        "2020-01-01T10:00:00Z"
    )
    assert markdown.parse(b"date: 2020-01-01\n", "a", LIMITS).attributes == {}
    page = (
        b"<meta name=date content=2001-01-01><meta property='article:modified_time' content='2002-01-01T00:00:00Z'><p>x"
    )
    assert hypertext.parse(page, "a", LIMITS).attributes == {"date": "2002-01-01T00:00:00Z"}
    assert hypertext.parse(b"<p>x</p>", "a", LIMITS).attributes == {}
    deck = made_office.pptx([made_office.shape("Words", kind="title")])
    parts = made_office.contents(deck) | {"docProps/core.xml": CORE.encode()}
    assert slides.parse(made_office.package(parts), "a", LIMITS).attributes == {"date": "2020-02-03T04:05:06Z"}
    letter = made_office.contents(made.docx([(0, "Words")])) | {"docProps/core.xml": CORE.encode()}
    assert written.parse(made_office.package(letter), "a", LIMITS).attributes == {"date": "2020-02-03T04:05:06Z"}
    book = made_office.contents(made_office.epub({"a.xhtml": "<p>Words</p>"}))
    package = next(name for name in book if name.endswith(".opf"))
    head, mark, tail = book[package].partition(b"</metadata>")
    book[package] = head + b'<meta property="dcterms:modified">2018-01-02T03:04:05Z</meta>' + mark + tail
    assert mark
    assert written.parse(made_office.package(book), "a", LIMITS).attributes == {"date": "2018-01-02T03:04:05Z"}
    plain = made.pdf(["Words on a page."], title="x" * 40)
    title = b"/Title (" + b"x" * 40 + b")"
    stamped = plain.replace(title, b"/ModDate (D:20170102030405Z)".ljust(len(title)))
    assert stamped != plain
    assert pdf.parse(plain, "a", LIMITS).attributes == {}
    assert pdf.parse(stamped, "a", LIMITS).attributes == {"date": "2017-01-02T03:04:05Z"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with fake_engine(tmp_path / "data") as engine:
        yield engine


def embedded(engine: Engine) -> int:
    assert isinstance(engine.embedder, BagOfWordsEmbedder)
    return engine.embedder.embedded


def found(engine: Engine, text: str, store: str = "default") -> list[str]:
    where = parse_filter(text)
    hits = asyncio.run(engine.retriever.search(store, "letter", where=where)).hits
    return sorted(hit.uri.rsplit("/", 1)[-1] for hit in hits)


def set_time(path: Path, *moment: int) -> None:
    seconds = datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]
    os.utime(path, (seconds, seconds))


def test_a_file_has_its_own_date_or_that_of_its_last_change(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "dated.md").write_text("---\ndate: 2020-05-05\n---\nA letter.\n")
    (folder / "plain.txt").write_text("Another letter.\n")
    for path in folder.iterdir():
        set_time(path, 2022, 6, 7, 12)
    asyncio.run(Ingestor(engine).run([folder], "default"))
    assert found(engine, "date = 2020-05-05") == ["dated.md"]
    assert found(engine, "date = 2022-06-07") == ["plain.txt"]
    assert found(engine, "date > 2022-06-07") == []
    count, digest = embedded(engine), asyncio.run(Doctor(engine).digest("default"))

    set_time(folder / "plain.txt", 2023, 1, 1)
    summary = asyncio.run(Ingestor(engine).run([folder], "default"))
    assert (summary.unchanged, embedded(engine)) == (2, count)
    assert found(engine, "date = 2022-06-07") == ["plain.txt"]
    assert asyncio.run(Doctor(engine).digest("default")) == digest
    assert asyncio.run(Doctor(engine).examine("default")).findings == []

    (folder / "plain.txt").write_text("Another letter, changed.\n")
    set_time(folder / "plain.txt", 2023, 1, 1)
    asyncio.run(Ingestor(engine).run([folder], "default"))
    assert found(engine, "date = 2023-01-01") == ["plain.txt"]


def test_two_stores_of_the_same_files_agree_whenever_these_were_written(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    digests = []
    for name, year in (("one", 2001), ("two", 2002)):
        (folder / "a.txt").write_text("A letter.\n")
        set_time(folder / "a.txt", year, 1, 1)
        asyncio.run(Ingestor(engine).run([folder], name))
        assert found(engine, f"date = {year}-01-01", name) == ["a.txt"]
        digests.append(asyncio.run(Doctor(engine).digest(name)))
    assert digests[0] == digests[1]


def test_what_the_user_says_comes_first_and_may_be_taken_back(engine: Engine) -> None:
    store = make_store(engine)
    file = upload(engine, "dated.md", "---\ndate: 2020-05-05\n---\nA letter.\n")
    attach(engine, store, file, attributes={"date": "1999-12-31"})
    work(engine)
    count = embedded(engine)
    assert found(engine, "date = 1999-12-31", store.name) == ["dated.md"]
    for attributes, day in (({}, "2020-05-05"), ({"date": 0}, "1970-01-01"), ({"date": "soon"}, "2020-05-05")):
        asyncio.run(Attachments(engine).update(store, file.id, attributes))
        work(engine)
        assert found(engine, f"date = {day}", store.name) == ["dated.md"]
    assert embedded(engine) == count


def test_recency_orders_what_is_equally_relevant(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number, words in enumerate(islice(permutations(["this", "letter", "came", "today"]), 8)):
        (folder / f"{number}.txt").write_text(f"{' '.join(words)}\n")
        set_time(folder / f"{number}.txt", 2000 + number, 1, 1)
    asyncio.run(Ingestor(engine).run([folder], "default"))

    def years(**options: float) -> list[str]:
        result = asyncio.run(engine.retriever.search("default", "letter", k=3, **options))  # type: ignore[arg-type]
        factors = [hit.scores.recency for hit in result.hits]
        assert all((factor is None) != bool(options.get("recency_half_life_days")) for factor in factors)
        return [hit.uri.rsplit("/", 1)[-1] for hit in result.hits]

    assert years(recency_half_life_days=3650) == ["7.txt", "6.txt", "5.txt"]
    assert years() == years(recency_half_life_days=0)
