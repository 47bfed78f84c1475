"""Whatever fails, and whenever: nothing is lost, it is said what to do, and the next run ends as a clean one does."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.outcomes import IngestSummary
from ingest.pipeline import Ingestor
from rag.assembly import Engine, delete_store
from rag.backends.vectors.edge_process import stop_worker
from rag.backends.vectors.edge_worker import PURGE_SECONDS
from rag.backends.vectors.memory import MemoryChunkStore
from rag.backends.vectors.qdrant_edge import EdgeChunkStore
from rag.documents import Point, SparseVector
from rag.errors import LeaseLostError, StorageUnavailableError, UpstreamError
from rag.filters import Filter
from rag.leasing import store_lease
from rag.ledger.connection import FILE_NAME
from rag.protocols import CandidateLists
from tests.fakes import DIMENSION, BagOfWordsEmbedder, fake_engine
from tests.ingest.made import SAMPLES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, data in SAMPLES.items():
        (folder / name).write_bytes(data)
    for number in range(3):
        (folder / f"{number}.md").write_text(f"# Note {number}\n\n" + f"Fact {number} of thing {number}. " * 80)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing behind it")
    (folder / "empty.txt").touch()
    return folder


def change(docs: Path) -> None:
    (docs / "0.md").write_text("# Other\n\n" + "Another fact. " * 90)
    (docs / "1.md").unlink()
    (docs / "2.md").rename(docs / "moved.md")
    (docs / "guide.txt").write_bytes(b"binary\0now")


def holding(engine: Engine) -> tuple[Any, ...]:
    """All that two equal stores agree on."""
    store = engine.stores.get("default").id
    points = asyncio.run(engine.vectors.identities(store, None, 10_000))
    return engine.documents.dump(store), points, engine.documents.leftovers(store), engine.refusals.all(store)


def check(summary: IngestSummary) -> None:
    assert summary.found == summary.indexed + summary.unchanged + summary.skipped.total() + summary.failed.total()


class FailingStore:
    """A store in memory whose n-th call fails, before or after it is done."""

    def __init__(self) -> None:
        self._store = MemoryChunkStore(DIMENSION)
        self.calls = 0
        self.fatal = 0
        self.after = False

    async def _call(self, name: str, *arguments: Any) -> Any:
        self.calls += 1
        fails = self.calls == self.fatal
        if fails and not self.after:
            raise StorageUnavailableError("The engine is away. Try again.")
        result = await getattr(self._store, name)(*arguments)
        if fails:
            raise StorageUnavailableError("The engine went away. Try again.")
        return result

    async def upsert(self, store_id: str, points: Sequence[Point]) -> None:
        await self._call("upsert", store_id, points)

    async def flush(self) -> None:
        await self._call("flush")

    async def search(
        self, store_id: str, dense: NDArray[np.float32] | None, sparse: SparseVector | None, limit: int,
        where: Filter | None = None, groups: frozenset[str] | None = None, together: Sequence[str] = (),
    ) -> CandidateLists:  # fmt: skip
        found: CandidateLists = await self._call("search", store_id, dense, sparse, limit, where, groups, together)
        return found

    async def count(self, store_id: str, where: Filter | None = None) -> int:
        return int(await self._call("count", store_id, where))

    async def delete(self, store_id: str, where: Filter | None = None) -> None:
        await self._call("delete", store_id, where)

    async def identities(self, store_id: str, after: str | None, limit: int) -> list[tuple[str, str, str]]:
        return await self._store.identities(store_id, after, limit)

    async def dense_vectors(self, store_id: str, chunk_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        found: dict[str, NDArray[np.float32]] = await self._call("dense_vectors", store_id, chunk_ids)
        return found

    async def close(self) -> None:
        await self._store.close()


@pytest.mark.parametrize("after", [False, True], ids=["undone", "done"])
def test_every_call_to_the_vector_store_may_fail(tmp_path: Path, docs: Path, after: bool) -> None:
    """The first, the second, the third ... until a run comes through."""
    with fake_engine(tmp_path / "clean") as engine:
        asyncio.run(Ingestor(engine).run([docs], "default"))
        change(docs)
        asyncio.run(Ingestor(engine).run([docs], "default"))
        wanted = holding(engine)
    shutil.rmtree(docs)
    failures = 0
    while True:
        docs.mkdir()
        for name, data in SAMPLES.items():
            (docs / name).write_bytes(data)
        for number in range(3):
            (docs / f"{number}.md").write_text(f"# Note {number}\n\n" + f"Fact {number} of thing {number}. " * 80)
        (docs / "broken.pdf").write_bytes(b"%PDF-1.7 nothing behind it")
        (docs / "empty.txt").touch()
        store = FailingStore()
        with fake_engine(tmp_path / str(failures), vectors=store) as engine:
            asyncio.run(Ingestor(engine).run([docs], "default"))
            change(docs)
            store.calls, store.fatal, store.after = 0, failures + 1, after
            try:
                check(asyncio.run(Ingestor(engine).run([docs], "default")))
            except StorageUnavailableError:
                assert engine.jobs.all()[0].state == "failed"
                store.fatal = 0
                check(asyncio.run(Ingestor(engine).run([docs], "default")))
                failures += 1
            else:
                break
            assert engine.jobs.all()[0].state == "done"
            assert without_times(holding(engine)) == without_times(wanted)
        shutil.rmtree(docs)
    assert failures > 8


def without_times(contents: tuple[Any, ...]) -> tuple[Any, ...]:
    chunks, points, leftovers, refusals = contents
    return chunks, points, leftovers, [(each.uri, each.outcome, each.reason) for each in refusals]


def test_a_ledger_that_is_locked_is_waited_for(tmp_path: Path, docs: Path) -> None:
    with fake_engine(tmp_path / "data") as engine:
        engine.stores.get_or_create("default", "fake", engine.embedder.fingerprint)
        with sqlite3.connect(tmp_path / "data" / FILE_NAME, check_same_thread=False) as other:
            other.execute("BEGIN IMMEDIATE")
            threading.Timer(1, other.rollback).start()
            check(asyncio.run(Ingestor(engine).run([docs], "default")))


def test_a_ledger_that_stays_locked_is_named(tmp_path: Path, docs: Path) -> None:
    (tmp_path / "data").mkdir()
    url = f"sqlite:///{tmp_path / 'data' / FILE_NAME}?timeout=0.1"
    with fake_engine(tmp_path / "data", ledger_url=url) as engine:
        engine.stores.get_or_create("default", "fake", engine.embedder.fingerprint)
        with sqlite3.connect(tmp_path / "data" / FILE_NAME) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailableError, match="locked"):
                asyncio.run(Ingestor(engine).run([docs], "default"))
            other.rollback()
        summary = asyncio.run(Ingestor(engine).run([docs], "default"))
        check(summary)
        assert summary.indexed == len(SAMPLES) + 3


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root can mount a small disk")
def test_a_full_disk(tmp_path: Path, docs: Path) -> None:
    for number in range(40):
        (docs / f"long {number}.md").write_text("\n\n".join(f"Fact {number}.{n} is long. " * 60 for n in range(40)))
    data = tmp_path / "small"
    data.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(data)], check=False)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        with fake_engine(data) as engine:
            with pytest.raises(StorageUnavailableError, match="full"):
                asyncio.run(Ingestor(engine).run([docs], "default"))
            subprocess.run(["mount", "-o", "remount,size=200m", str(data)], check=True)
            summary = asyncio.run(Ingestor(engine).run([docs], "default"))
            check(summary)
            assert summary.indexed + summary.unchanged == len(SAMPLES) + 43
            found = holding(engine)
        with fake_engine(tmp_path / "clean") as engine:
            asyncio.run(Ingestor(engine).run([docs], "default"))
            assert without_times(holding(engine)) == without_times(found)
    finally:
        subprocess.run(["umount", str(data)], check=True)


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    stop_worker(tmp_path / "data")


@pytest.mark.slow
def test_two_processes_ingest_one_folder_at_once(edge: Path, docs: Path) -> None:
    command = [sys.executable, "-m", "tests.ingest.crash_victim", str(edge), str(docs)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    vectors = EdgeChunkStore(edge, "fake", DIMENSION)
    with fake_engine(edge, vectors=vectors) as engine:
        found = holding(engine)
    asyncio.run(vectors.close())
    with fake_engine(edge.parent / "clean") as engine:
        asyncio.run(Ingestor(engine).run([docs], "default"))
        assert without_times(holding(engine)) == without_times(found)


class SlowEmbedder(BagOfWordsEmbedder):
    """Lets others act while it works."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.begun.set()
        await self.may_go_on.wait()
        return await super().embed_passages(texts)


def test_a_store_is_deleted_during_its_ingest(edge: Path, docs: Path) -> None:
    async def use() -> None:
        embedder = SlowEmbedder()
        vectors = EdgeChunkStore(edge, "fake", DIMENSION)
        with fake_engine(edge, embedder, vectors) as engine:
            ingest = asyncio.create_task(Ingestor(engine).run([docs], "default"))
            await embedder.begun.wait()
            deletion = asyncio.create_task(delete_store(engine.settings, "default"))
            while engine.jobs.all()[0].state == "running":  # noqa: ASYNC110 - the ledger has no events
                await asyncio.sleep(0.05)
            embedder.may_go_on.set()
            with pytest.raises(LeaseLostError, match="store was deleted"):
                await ingest
            await deletion
            assert engine.stores.names() == []
            check(await Ingestor(engine).run([docs], "default"))
            store = engine.stores.get("default").id
            assert await vectors.count(store) == engine.documents.count_chunks(store) > 0
        await vectors.close()

    asyncio.run(use())


def test_an_error_is_told_though_the_job_was_taken_over(tmp_path: Path, docs: Path) -> None:
    """Noting the failure fails too by then; what went wrong first is what people must hear."""

    class Overtaken(BagOfWordsEmbedder):
        async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
            name = store_lease(engine.stores.get("default").id)
            engine.leases.acquire(name, "another", "elsewhere", take_over=True)
            raise UpstreamError("The embedder is broken.")

    with fake_engine(tmp_path / "data", Overtaken()) as engine:
        with pytest.raises(UpstreamError, match="embedder is broken"):
            asyncio.run(Ingestor(engine).run([docs], "default"))
        assert engine.jobs.all()[0].state == "stopped"


@pytest.mark.slow
def test_what_is_deleted_is_gone_from_every_file_within_a_minute(edge: Path, docs: Path) -> None:
    """Its text, and in the vector store, which has none, its id."""
    (docs / "secret.md").write_text("# Zanzibarcanary\n\nThe wordxylophonecanary is what nobody may read any more.")

    for number in range(40):
        (docs / f"more {number}.md").write_text(f"# More {number}\n\n" + f"Number {number} is not secret. " * 400)

    def files_with(what: bytes) -> list[str]:
        found = []
        for folder, _, names in os.walk(edge):  # which passes over folders that go while we look
            for path in (Path(folder) / name for name in names):
                with contextlib.suppress(OSError):
                    if what in path.read_bytes():
                        found.append(str(path.relative_to(edge)))
        return found

    async def use() -> None:
        vectors = EdgeChunkStore(edge, "fake", DIMENSION)
        try:
            with fake_engine(edge, vectors=vectors) as engine:
                await Ingestor(engine).run([docs], "default")
                (hit, *_) = (await engine.retriever.search("default", "wordxylophonecanary")).hits
                document = hit.chunk.document_id.encode()
                assert files_with(b"xylophonecanary")
                assert files_with(document)
                (docs / "secret.md").unlink()
                await Ingestor(engine).run([docs], "default")
                hits = (await engine.retriever.search("default", "wordxylophonecanary")).hits
                assert all(hit.chunk.document_id.encode() != document for hit in hits)
                until = time.monotonic() + 60
                while time.monotonic() < until and (files_with(b"xylophonecanary") or files_with(document)):  # noqa: ASYNC110
                    await asyncio.sleep(PURGE_SECONDS / 10)
                assert files_with(b"xylophonecanary") == []
                assert files_with(document) == []
        finally:
            await vectors.close()

    asyncio.run(use())


def test_an_uncertain_failure_is_tried_a_few_times_and_a_certain_one_once(tmp_path: Path, docs: Path) -> None:
    for path in docs.iterdir():
        os.utime(path, (1, 1))
    with fake_engine(tmp_path / "data") as engine:
        ingestor = Ingestor(engine)
        asyncio.run(ingestor.run([docs], "default"))
        store = engine.stores.get("default").id
        broken = (docs / "broken.pdf").as_uri()
        (before,) = engine.refusals.at(store, [broken]).values()
        assert (before.reason, before.attempts) == ("corrupt", 1)
        summary = asyncio.run(ingestor.run([docs], "default"))
        assert summary.failed == Counter({"corrupt": 1})
        assert engine.refusals.at(store, [broken])[broken] == before
        asyncio.run(ingestor.run([docs], "default", retry=True))
        assert engine.refusals.at(store, [broken])[broken].attempts == 2
        (docs / "broken.pdf").write_bytes(SAMPLES["guide.pdf"])
        assert asyncio.run(ingestor.run([docs], "default")).new == 1
        assert broken not in engine.refusals.at(store, [broken])
