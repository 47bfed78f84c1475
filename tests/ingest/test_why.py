"""One file's fate, told: each outcome, and how a question stands to it."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.found import Findability, findability
from ingest.pipeline import Ingestor
from ingest.why import Explanation, explain
from rag.assembly import Engine
from rag.documents import store_id
from rag.errors import FingerprintMismatchError, InvalidInputError
from rag.ledger.jobs import JobFile
from rag.ledger.refusals import Refusal
from tests.fakes import BagOfWordsEmbedder, fake_engine


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "lions.md").write_text("# Lions\n\nLions live in prides and hunt at night.\n")
    (folder / "deep" / "tigers.txt").write_text("Tigers live alone and swim well.\n")
    (folder / "deep" / "same.txt").write_text("Bears sleep in winter.\n")
    (folder / "same.txt").write_text("Seals swim in winter.\n")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 and then nothing")
    (folder / "secret.md").write_text("Nobody reads this.")
    (folder / ".quothignore").write_text("secret.*\n")
    for path in folder.rglob("*.*"):
        os.utime(path, ns=(10**18, 10**18))
    return folder


@pytest.fixture
def engine(tmp_path: Path, docs: Path) -> Iterator[Engine]:
    with fake_engine(tmp_path / "data") as engine:
        asyncio.run(Ingestor(engine).run([docs], "default"))
        yield engine


def told(engine: Engine, name: object) -> Explanation:
    return explain(engine, engine.stores.get("default"), str(name))


def test_an_indexed_file_is_told_with_its_version(engine: Engine, docs: Path) -> None:
    found = told(engine, docs / "lions.md")
    assert (found.verdict, found.facts["title"], found.facts["chunks"]) == ("indexed", "Lions", 1)
    assert found.facts["file"] == "fresh"
    assert "unchanged" in found.sentences[1]
    assert found.facts["generation"] in engine.documents.at(store_id("default"), [found.uri])[found.uri].generation
    assert found.as_dict()["verdict"] == "indexed"


@pytest.mark.parametrize(("change", "verdict"), [("write", "changed"), ("unlink", "gone"), ("rule", "left_out")])
def test_what_happened_to_an_indexed_file_since_is_told(engine: Engine, docs: Path, change: str, verdict: str) -> None:
    if change == "write":
        (docs / "lions.md").write_text("Lions sleep all day.")
    elif change == "unlink":
        (docs / "lions.md").unlink()
    else:
        (docs / ".quothignore").write_text("lions.md\n")
    found = told(engine, docs / "lions.md")
    assert (found.verdict, found.facts["file"]) == ("indexed", verdict)
    assert "next ingest" in found.sentences[1]


def test_a_path_a_uri_and_the_end_of_a_path_mean_the_same(engine: Engine, docs: Path) -> None:
    uri = (docs / "deep" / "tigers.txt").as_uri()
    assert told(engine, uri).uri == uri
    assert told(engine, "tigers.txt").uri == uri
    assert told(engine, "deep/tigers.txt").uri == uri
    with contextlib.chdir(docs):
        assert told(engine, "deep/../deep/tigers.txt").uri == uri
    (docs.parent / "link").symlink_to(docs)
    assert told(engine, docs.parent / "link" / "deep" / "tigers.txt").uri == uri
    assert told(engine, "igers.txt").verdict == "not_there"  # names are not cut


def test_the_end_of_several_paths_is_refused(engine: Engine, docs: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"2 files end like 'same\.txt'"):
        told(engine, "same.txt")
    assert told(engine, "deep/same.txt").verdict == "indexed"


def test_a_refused_file_is_told_with_what_happens_next(engine: Engine, docs: Path) -> None:
    found = told(engine, docs / "broken.pdf")
    assert (found.verdict, found.facts["reason"], found.facts["attempts"]) == ("refused", "corrupt", 1)
    assert "once it changes" in found.sentences[1]
    tried = (
        ("parser_timeout", 1, "1 of 3 times"),
        ("parser_timeout", 3, "once it changes"),
        ("unreadable", 1, "Every"),
    )
    for reason, attempts, said in tried:
        refusal = Refusal(found.uri, "failed", reason, "It broke.", attempts=attempts)
        engine.refusals.replace(store_id("default"), [refusal])
        assert said in told(engine, found.uri).sentences[1]


def test_a_file_that_a_rule_leaves_out_is_told_with_the_rule(engine: Engine, docs: Path) -> None:
    found = told(engine, docs / "secret.md")
    assert found.verdict == "left_out"
    assert found.facts["rule"] == f"{docs / '.quothignore'}:1: secret.*"
    assert told(engine, docs / ".quothignore").verdict == "left_out"


def test_a_file_that_came_later_waits_for_the_next_ingest(engine: Engine, docs: Path) -> None:
    (docs / "late.md").write_text("Late.")
    (docs / "late.bin").write_bytes(b"\x7fELF")
    assert told(engine, docs / "late.md").verdict == "unread"
    assert f"quoth ingest {docs}" in told(engine, docs / "late.md").sentences[1]
    assert "unsupported" in told(engine, docs / "late.bin").sentences[1]
    assert told(engine, docs / "deep").verdict == "unread"


def test_a_file_that_a_job_has_found_waits(engine: Engine, docs: Path) -> None:
    (docs / "late.md").write_text("Late.")
    uri = (docs / "late.md").as_uri()
    job = engine.jobs.submit(store_id("default"), [docs.as_uri()])
    engine.jobs.add(job.id, [JobFile(0, uri, docs.as_uri(), 5, "todo")])
    found = told(engine, docs / "late.md")
    assert (found.verdict, found.facts["job"]) == ("waiting", job.id)


def test_a_file_elsewhere_and_one_that_is_not_there(engine: Engine, tmp_path: Path, docs: Path) -> None:
    (tmp_path / "other.md").write_text("Elsewhere.")
    found = told(engine, tmp_path / "other.md")
    assert found.verdict == "below_no_folder"
    assert str(docs) in found.sentences[0]
    assert told(engine, tmp_path / "nothing.md").verdict == "not_there"
    assert told(engine, "https://example.org/x").verdict == "not_there"


def asked(engine: Engine, path: Path, question: str) -> Findability:
    store = engine.stores.get("default")
    document = engine.documents.at(store.id, [path.as_uri()])[path.as_uri()]
    return asyncio.run(findability(engine, store, document, question))


def test_a_question_that_finds_a_document_shows_its_place(engine: Engine, docs: Path) -> None:
    found = asked(engine, docs / "lions.md", "Where do lions hunt?")
    best = found.passages[0]
    hits = asyncio.run(engine.retriever.search("default", "Where do lions hunt?")).hits
    assert found.is_found
    assert (best.fused_rank, best.fused, best.dense) == (1, hits[0].score, hits[0].scores.dense)
    assert (best.sparse, best.sparse_rank, best.words) == (hits[0].scores.sparse, 1, ("lions", "hunt"))
    assert "number 1 of the 6" in found.sentence
    assert found.kth_score is None  # the store has fewer passages than an answer may quote


def test_a_question_that_finds_others_before_it_shows_what_they_had(tmp_path: Path) -> None:
    docs = tmp_path / "many"
    docs.mkdir()
    for number in range(30):
        (docs / f"{number:02}.txt").write_text("lions " * (30 - number) + "tigers " * number)
    with fake_engine(tmp_path / "many-data") as engine:
        asyncio.run(Ingestor(engine).run([docs], "default"))
        hits = asyncio.run(engine.retriever.search("default", "lions", k=30)).hits
        tenth = Path(hits[9].uri.removeprefix("file://"))
        found = asked(engine, tenth, "lions")
        assert not found.is_found
        assert (found.passages[0].fused_rank, found.passages[0].fused) == (10, hits[9].score)
        assert found.kth_score == hits[5].score
        assert "not among the 6" in found.sentence
        assert found.as_dict()["passages"][0]["words"] == ("lions",)


def test_a_document_that_is_no_candidate_is_told(tmp_path: Path) -> None:
    docs = tmp_path / "many"
    docs.mkdir()
    for number in range(120):
        (docs / f"{number:03}.txt").write_text(f"lions hunt number {number}")
    (docs / "far.txt").write_text("quite other matters are told here")
    with fake_engine(tmp_path / "many-data") as engine:
        asyncio.run(Ingestor(engine).run([docs], "default"))
        found = asked(engine, docs / "far.txt", "lions hunt")
        assert not found.is_found
        best = found.passages[0]
        assert (best.fused_rank, best.fused, best.sparse_rank, best.words) == (None, None, None, ())
        assert best.dense_rank is not None
        assert best.dense_rank > 100
        assert "only the first 100" in found.sentence


def test_an_empty_question_and_another_embedder_are_refused(engine: Engine, tmp_path: Path, docs: Path) -> None:
    with pytest.raises(InvalidInputError, match="empty"):
        asked(engine, docs / "lions.md", " ")
    with (
        fake_engine(tmp_path / "data", BagOfWordsEmbedder("another")) as other,
        pytest.raises(FingerprintMismatchError),
    ):
        asked(other, docs / "lions.md", "lions")
