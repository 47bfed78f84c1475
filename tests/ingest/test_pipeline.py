"""A store kept in step with a folder: every file has one outcome, and nothing is embedded twice."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.job_run import Progress
from ingest.outcomes import IngestSummary
from ingest.pipeline import Ingestor
from ingest.removal import remove
from ingest.working import work_off
from rag.assembly import Engine
from rag.errors import FingerprintMismatchError, InvalidInputError, NotFoundError, UpstreamError
from tests.fakes import BagOfWordsEmbedder, fake_engine


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.md").write_text("# Alpha\n\nThe first letter.\n")
    (folder / "deep" / "b.txt").write_text("The second letter.\n")
    (folder / "c.html").write_text("<title>Gamma</title><p>The third letter.</p>")
    return folder


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with fake_engine(tmp_path / "data") as engine:
        yield engine


def ingest(engine: Engine, *paths: Path) -> IngestSummary:
    return asyncio.run(Ingestor(engine).run(list(paths), "default"))


def age(folder: Path) -> None:
    """Make the files look as if they had been written a while ago, as most files were."""
    for path in folder.rglob("*"):
        if path.is_file():
            stat = path.stat()
            os.utime(path, ns=(stat.st_atime_ns - 10**10, stat.st_mtime_ns - 10**10))


def found(engine: Engine, question: str) -> list[str]:
    return [hit.uri for hit in asyncio.run(engine.retriever.search("default", question)).hits]


def test_a_folder_is_indexed_and_then_left_alone(engine: Engine, docs: Path) -> None:
    first = ingest(engine, docs)
    assert (first.found, first.indexed, first.chunks) == (3, 3, 3)
    assert isinstance(engine.embedder, BagOfWordsEmbedder)
    embedded = engine.embedder.embedded
    second = ingest(engine, docs)
    assert (second.found, second.unchanged, second.indexed, second.chunks) == (3, 3, 0, 3)
    age(docs)
    assert ingest(engine, docs).unchanged == 3
    assert engine.embedder.embedded == embedded
    assert found(engine, "second letter")[0] == (docs / "deep" / "b.txt").as_uri()


def test_changed_and_removed_files_are_followed(engine: Engine, docs: Path) -> None:
    ingest(engine, docs)
    (docs / "a.md").write_text("# Omega\n\nThe last letter.\n")
    (docs / "deep" / "b.txt").unlink()
    summary = ingest(engine, docs)
    assert (summary.found, summary.indexed, summary.unchanged, summary.removed, summary.chunks) == (2, 1, 1, 1, 2)
    texts = [hit.chunk.text for hit in asyncio.run(engine.retriever.search("default", "letter", k=10)).hits]
    assert sorted(texts) == ["# Omega\n\nThe last letter.", "The third letter."]


def test_only_what_lies_below_the_given_paths_is_removed(engine: Engine, docs: Path) -> None:
    ingest(engine, docs)
    (docs / "a.md").unlink()
    assert ingest(engine, docs / "deep").removed == 0
    assert ingest(engine, docs).removed == 1


def test_a_moved_file_is_not_embedded_again_and_copies_are_embedded_once(engine: Engine, docs: Path) -> None:
    long = "\n\n".join(f"Paragraph {number} tells of the {number}th thing. " * 30 for number in range(12))
    (docs / "untitled.txt").write_text(long)
    ingest(engine, docs)
    assert isinstance(engine.embedder, BagOfWordsEmbedder)
    embedded = engine.embedder.embedded
    (docs / "untitled.txt").rename(docs / "deep" / "renamed.txt")
    (docs / "deep" / "b.txt").rename(docs / "b.txt")
    for number in range(3):
        (docs / f"copy {number}.md").write_text((docs / "a.md").read_text())
    summary = ingest(engine, docs)
    assert (summary.new, summary.removed, summary.moved) == (5, 2, 2)
    assert engine.embedder.embedded == embedded
    assert found(engine, "renamed things")[0] == (docs / "deep" / "renamed.txt").as_uri()
    (docs / "deep" / "renamed.txt").write_text(long + "\n\nOne more paragraph. " * 40)
    assert ingest(engine, docs).changed == 1
    assert engine.embedder.embedded - embedded < 6


def test_removing_takes_documents_out_whether_their_files_are_there_or_not(engine: Engine, docs: Path) -> None:
    (docs / "program.bin").write_bytes(b"\x7fELF")
    ingest(engine, docs)
    store = engine.stores.get("default").id
    assert asyncio.run(remove(engine, "default", [str(docs / "deep")])) == 1
    assert engine.documents.count_chunks(store) == asyncio.run(engine.vectors.count(store)) == 2
    assert engine.jobs.roots(store) == [docs.as_uri()]
    assert asyncio.run(remove(engine, "default", [docs.as_uri()])) == 2
    assert (engine.jobs.roots(store), engine.refusals.all(store)) == ([], [])
    with pytest.raises(NotFoundError, match="quoth status"):
        asyncio.run(remove(engine, "default", [str(docs)]))


def test_waiting_jobs_are_worked_off(engine: Engine, docs: Path) -> None:
    """Jobs that wait are done by a worker, each store's one after the other, and a failing one does not stop it."""
    ingestor = Ingestor(engine)
    asyncio.run(ingestor.submit([docs / "deep"], "default"))
    asyncio.run(ingestor.submit([docs / "a.md"], "default"))
    gone = docs / "c.html"
    asyncio.run(ingestor.submit([gone], "other"))
    gone.unlink()
    done: list[tuple[str, bool]] = []
    count = asyncio.run(work_off(engine, lambda job, result: done.append((job.store, isinstance(result, Exception)))))
    assert (count, sorted(done)) == (3, [("default", False), ("default", False), ("other", True)])
    assert engine.documents.count_chunks(engine.stores.get("default").id) == 2
    assert asyncio.run(work_off(engine)) == 0


def test_every_file_has_one_outcome(engine: Engine, docs: Path) -> None:
    (docs / "empty.md").write_text("")
    (docs / "corrupt.pdf").write_bytes(b"%PDF-1.4 and then nothing")
    (docs / "program.bin").write_bytes(b"\x7fELF")
    (docs / "blank.txt").write_text("   \n\n ")
    seen: list[Progress] = []
    summary = asyncio.run(Ingestor(engine).run([docs], "default", on_progress=seen.append))
    assert summary.found == 7 == len(seen) == seen[-1].done
    assert summary.indexed == 3
    assert summary.failed["corrupt"] == 1
    assert summary.skipped.total() + summary.failed.total() == 4
    refused = engine.refusals.all(engine.stores.get("default").id)
    assert len(refused) == 4
    assert all(refusal.reason and refusal.message for refusal in refused)


def test_a_file_that_breaks_is_no_longer_cited(engine: Engine, docs: Path) -> None:
    ingest(engine, docs)
    (docs / "a.md").write_bytes(b"\x00\x01\x02 binary now")
    summary = ingest(engine, docs)
    assert (summary.failed.total(), summary.removed, summary.chunks) == (1, 0, 2)
    assert (docs / "a.md").as_uri() not in found(engine, "first letter")


def test_missing_paths_and_bad_names_are_refused(engine: Engine, docs: Path) -> None:
    with pytest.raises(InvalidInputError, match="nowhere"):
        ingest(engine, docs / "nowhere")
    with pytest.raises(InvalidInputError, match="cannot name a store"):
        asyncio.run(Ingestor(engine).run([docs], "no/slash"))


def test_another_embedder_is_refused_before_any_work(tmp_path: Path, docs: Path, engine: Engine) -> None:
    ingest(engine, docs)
    with fake_engine(tmp_path / "data", BagOfWordsEmbedder("another")) as other:
        with pytest.raises(FingerprintMismatchError, match="bag-of-words"):
            ingest(other, docs)
        with pytest.raises(FingerprintMismatchError, match="bag-of-words"):
            found(other, "letter")


class FailingEmbedder(BagOfWordsEmbedder):
    """Fails as long as it is told to."""

    def __init__(self, failure: str) -> None:
        super().__init__()
        self.failure = failure

    async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.failure == "down":
            raise UpstreamError("the embedder is down")
        vectors = await super().embed_passages(texts)
        if self.failure == "nan":
            vectors[0, 0] = np.nan
        return vectors[:, :10] if self.failure == "short" else vectors


@pytest.mark.parametrize("failure", ["down", "nan", "short"])
def test_a_failing_embedder_loses_nothing(tmp_path: Path, docs: Path, failure: str) -> None:
    embedder = FailingEmbedder(failure)
    with fake_engine(tmp_path / "data", embedder) as engine:
        with pytest.raises(UpstreamError):
            ingest(engine, docs)
        assert engine.documents.count_chunks(engine.stores.get("default").id) == 0
        embedder.failure = ""
        summary = ingest(engine, docs)
        assert (summary.indexed, summary.chunks) == (3, 3)


def test_two_ingests_at_once_reach_the_same_store(engine: Engine, docs: Path) -> None:
    async def both() -> list[IngestSummary]:
        waited: list[bool] = []
        runs = (Ingestor(engine).run([docs], "default", on_wait=lambda: waited.append(True)) for _ in range(2))
        summaries = await asyncio.gather(*runs)
        assert waited
        return list(summaries)

    one, other = asyncio.run(both())
    assert sorted([one.indexed, other.indexed]) == [0, 3]
    assert one.chunks == other.chunks == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_at_present_is_not_taken_for_gone(engine: Engine, docs: Path) -> None:
    ingest(engine, docs)
    (docs / "deep").chmod(0)
    try:
        summary = ingest(engine, docs)
    finally:
        (docs / "deep").chmod(0o700)
    assert (summary.removed, summary.failed["unreadable"], summary.chunks) == (0, 1, 3)


def test_an_empty_folder_is_said_and_emptying_one_removes_its_documents(engine: Engine, docs: Path) -> None:
    empty = docs.parent / "empty"
    empty.mkdir()
    with pytest.raises(InvalidInputError, match="no files"):
        ingest(engine, empty)
    assert engine.stores.names() == []
    ingest(engine, docs)
    with pytest.raises(InvalidInputError, match="no files"):
        ingest(engine, empty)
    for path in docs.rglob("*.*"):
        path.unlink()
    assert (ingest(engine, docs).removed, engine.documents.count_chunks(engine.stores.get("default").id)) == (3, 0)
