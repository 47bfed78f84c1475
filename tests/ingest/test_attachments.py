"""An upload in a store is a document like any other: read once, found by what it has, gone when detached."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.attachments import Attachment, Attachments
from ingest.background import BackgroundWorker
from ingest.doctor import Doctor
from ingest.pipeline import Ingestor
from ingest.removal import remove
from ingest.uploads import path_of_upload
from ingest.why import explain
from rag.assembly import Engine
from rag.attributes import file_id_of
from rag.errors import InvalidInputError, NotFoundError
from rag.filters import And, Eq, Exists, Filter, Not, Range
from rag.ledger.files import StoredFile
from rag.ledger.stores import Store
from tests.fakes import BagOfWordsEmbedder, fake_engine
from tests.ingest.test_pipeline import FailingEmbedder
from tests.ingest.uploads import attach, make_store, search, upload, work

LONG = "# Note\n\n" + " ".join(f"Sentence {number} tells of thing {number} at length." for number in range(200))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with fake_engine(tmp_path / "data") as engine:
        yield engine


@pytest.fixture
def store(engine: Engine) -> Store:
    return make_store(engine)


def embedded(engine: Engine) -> int:
    assert isinstance(engine.embedder, BagOfWordsEmbedder)
    return engine.embedder.embedded


def is_whole(engine: Engine, store: Store) -> bool:
    """As many points as chunks, and nothing left to do."""
    points = asyncio.run(engine.vectors.count(store.id))
    return points == engine.documents.count_chunks(store.id) and not engine.documents.leftovers(store.id)


def test_an_upload_is_found_with_its_attributes(engine: Engine, store: Store) -> None:
    file = upload(engine, "über die Säule?.md", LONG)
    rows, batch = attach(engine, store, file, attributes={"year": 2024, "author": "Anna", "final": True})
    assert (rows[0].status, batch) == ("in_progress", None)
    assert search(engine, "thing 7") == []
    assert work(engine) == 1
    row = engine.store_files.get(store.id, file.id)
    assert (row.status, row.error_code, row.usage_bytes > len(LONG)) == ("completed", None, True)
    hit = search(engine, "thing 7")[0]
    assert (hit.file_id, dict(hit.attributes)) == (file.id, {"year": 2024, "author": "Anna", "final": True})
    assert hit.uri == f"upload:///{file.id}/%C3%BCber%20die%20S%C3%A4ule%3F.md"
    filters: list[tuple[Filter, bool]] = [
        (Eq("author", "Anna"), True), (Eq("author", "Otto"), False), (Range("year", minimum=2024), True),
        (Eq("final", False), False), (Eq("quoth.filename", "über die Säule?.md"), True),
        (Eq("quoth.type", "text/markdown"), True), (Exists("quoth.path"), False),
        (Not(Eq("quoth.type", "text/markdown")), False), (And((Eq("year", 2024), Eq("final", True))), True),
    ]  # fmt: skip
    assert [bool(search(engine, "thing 7", where)) for where, _ in filters] == [wanted for _, wanted in filters]
    assert is_whole(engine, store)


def test_other_attributes_and_groups_embed_nothing_and_another_size_does(engine: Engine, store: Store) -> None:
    file = upload(engine, "note.md", LONG)
    attach(engine, store, file, attributes={"v": 1})
    work(engine)
    before = embedded(engine)
    attach(engine, store, file, attributes={"v": 1})
    assert work(engine) == 0  # the same again is no work
    asyncio.run(Attachments(engine).update(store, file.id, {"v": 2}))
    assert engine.store_files.get(store.id, file.id).status == "in_progress"
    assert search(engine, "thing 7", Eq("v", 1))  # until it is done
    assert work(engine) == 1
    assert search(engine, "thing 7", Eq("v", 2))
    assert not search(engine, "thing 7", Eq("v", 1))
    attach(engine, store, file, attributes={"v": 2}, groups=["staff"])
    work(engine)
    assert embedded(engine) == before
    seen = [bool(search(engine, "thing 7", groups=groups)) for groups in (None, frozenset({"staff"}), frozenset[str]())]
    assert seen == [True, True, False]
    strategy = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20}
    attach(engine, store, file, attributes={"v": 2}, groups=["staff"], chunking=strategy)
    work(engine)
    assert embedded(engine) > before
    hits = search(engine, "thing", k=100)
    assert max(engine.embedder.tokenizer.count(hit.chunk.embedded_text) for hit in hits) <= 100
    spans = sorted((hit.chunk.char_start, hit.chunk.char_end) for hit in hits)
    assert all(later[0] < earlier[1] for earlier, later in pairwise(spans))
    assert engine.store_files.get(store.id, file.id).chunking == strategy
    assert is_whole(engine, store)


def test_other_attributes_parse_nothing(engine: Engine, store: Store) -> None:
    file = upload(engine, "note.md", LONG)
    attach(engine, store, file, attributes={"v": 1})
    work(engine)
    with engine.store_files._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE documents SET title = 'As it was read'")
    asyncio.run(Attachments(engine).update(store, file.id, {"v": 2}))
    work(engine)
    hits = search(engine, "thing 7", Eq("v", 2))
    assert {hit.title for hit in hits} == {"As it was read"}
    assert [chunk[2] for chunk in engine.documents.dump(store.id)] == list(range(len(hits)))
    assert engine.store_files.get(store.id, file.id).usage_bytes > len(LONG)


def test_a_longer_strategy_than_the_embedder_reads_is_cut_to_that(engine: Engine, store: Store) -> None:
    file = upload(engine, "note.md", LONG)
    rows, _ = attach(engine, store, file, chunking={"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400})
    assert rows[0].chunking == {"max_chunk_size_tokens": 256, "chunk_overlap_tokens": 128}
    for bad in (
        {"max_chunk_size_tokens": 99, "chunk_overlap_tokens": 0},
        {"max_chunk_size_tokens": 4097, "chunk_overlap_tokens": 0},
        {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 101},
        {"max_chunk_size_tokens": 200},
    ):
        with pytest.raises(InvalidInputError, match="chunk"):
            attach(engine, store, file, chunking=bad)


@pytest.mark.parametrize(
    "bad", [
        {str(number): 1 for number in range(17)}, {"": 1}, {"k" * 65: 1}, {"quoth.type": "x"}, {"document_id": "x"},
        {'a"b': 1}, {"a": "x" * 513}, {"a": None}, {"a": ["x"]}, {"a": float("nan")}, {"a": 2**63}, {"a": "\ud800"},
    ],
)  # fmt: skip
def test_attributes_that_cannot_be_stored_are_refused(engine: Engine, store: Store, bad: dict[str, object]) -> None:
    file = upload(engine, "note.md", LONG)
    with pytest.raises(InvalidInputError):
        attach(engine, store, file, attributes=bad)
    with pytest.raises(NotFoundError):
        engine.store_files.get(store.id, file.id)


def test_every_file_of_a_batch_has_its_status(engine: Engine, store: Store) -> None:
    good, empty = upload(engine, "a.md", LONG), upload(engine, "b.txt", "")
    odd, broken = upload(engine, "c.exe", b"MZ"), upload(engine, "d.pdf", b"%PDF-1.7 nothing behind it")
    gone = upload(engine, "e.txt", "Words.")
    path_of_upload(engine.settings.data_dir, gone.id).unlink()
    forged = upload(engine, "f.txt", "Words.")
    path_of_upload(engine.settings.data_dir, forged.id).write_text("Other")
    rows, batch = attach(engine, store, good, empty, odd, broken, gone, forged, batch=True)
    assert batch is not None
    assert len({row.job_id for row in rows}) == 1
    assert work(engine) == 1
    found = {row.file_id: row for row in engine.store_files.page(store.id, limit=10, batch_id=batch)[0]}
    told = [(found[file.id].status, found[file.id].error_code) for file in (good, empty, odd, broken, gone, forged)]
    assert told == [
        ("completed", None), ("failed", "invalid_file"), ("failed", "unsupported_file"), ("failed", "invalid_file"),
        ("failed", "server_error"), ("failed", "server_error"),
    ]  # fmt: skip
    assert all(row.error_message for row in found.values() if row.status == "failed")
    assert engine.store_files.counts(batch_id=batch) == {
        "in_progress": 0, "completed": 1, "failed": 5, "cancelled": 0,
    }  # fmt: skip
    assert is_whole(engine, store)


def test_a_file_that_is_detached_is_out_of_sight_at_once(engine: Engine, store: Store) -> None:
    file = upload(engine, "note.md", LONG)
    attach(engine, store, file)
    work(engine)
    assert asyncio.run(Attachments(engine).detach(store, file.id))
    assert search(engine, "thing 7") == []
    with pytest.raises(NotFoundError):
        engine.store_files.get(store.id, file.id)
    assert engine.documents.leftovers(store.id)
    work(engine)
    assert asyncio.run(engine.vectors.count(store.id)) == 0
    assert is_whole(engine, store)
    assert not asyncio.run(Attachments(engine).detach(store, file.id))
    assert engine.files.find(file.id) is not None
    attach(engine, store, file)
    work(engine)
    assert search(engine, "thing 7")


@pytest.mark.parametrize("step", ["scanned", "embedded", "begun", "upserted", "counted", "switched"])
@pytest.mark.parametrize("change", ["detach", "cancel", "update"])
def test_what_changes_while_a_job_runs_is_not_undone(engine: Engine, store: Store, step: str, change: str) -> None:
    """The change comes between two steps of the job that reads the file; in the end it holds."""
    file, other = upload(engine, "note.md", LONG), upload(engine, "other.md", "Other words.")
    _, batch = attach(engine, store, file, other, batch=True, attributes={"v": 1})
    done: list[str] = []

    def interfere(name: str) -> None:
        if name != step or done:
            return
        done.append(name)
        if change == "detach":
            engine.store_files.detach(store.id, [file.id])
        elif change == "cancel":
            engine.store_files.cancel_batch(store.id, batch or "")
        else:
            engine.store_files.change(store.id, file.id, {"v": 2})

    job = engine.jobs.all()[0]
    asyncio.run(Ingestor(engine, interfere).work(job))
    assert done
    work(engine)
    assert is_whole(engine, store)
    found = search(engine, "thing 7")
    if change == "update":
        assert {hit.attributes["v"] for hit in found if hit.file_id == file.id} == {2}
        assert engine.store_files.get(store.id, file.id).status == "completed"
    elif change == "detach":
        assert {hit.file_id for hit in found} == {other.id}
        assert [row.file_id for row in engine.store_files.page(store.id, limit=5)[0]] == [other.id]
    else:
        status = "completed" if step == "switched" else "cancelled"
        assert engine.store_files.get(store.id, file.id).status == status
        assert {hit.file_id for hit in found} == ({file.id, other.id} if step == "switched" else set())


def test_folders_and_uploads_leave_each_other_alone(engine: Engine, store: Store, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# Alpha\n\nThe first letter.\n")
    (docs / "b.md").write_text("# Beta\n\nThe second letter.\n")
    file = upload(engine, "c.md", "# Gamma\n\nThe third letter.\n")
    asyncio.run(Ingestor(engine).run([docs], "default"))
    attach(engine, store, file)
    work(engine)
    (docs / "b.md").unlink()
    assert asyncio.run(Ingestor(engine).run([docs], "default")).removed == 1
    hits = search(engine, "letter")
    assert sorted(hit.file_id or "folder" for hit in hits) == sorted([file.id, "folder"])
    assert engine.jobs.roots(store.id) == [docs.as_uri()]
    assert {bool(search(engine, "letter", Eq("quoth.path", str(docs / "a.md"))))} == {True}
    asyncio.run(Attachments(engine).detach(store, file.id))
    asyncio.run(Ingestor(engine).run([docs], "default"))  # its sweep takes the points of the upload too
    assert is_whole(engine, store)
    assert [hit.file_id for hit in search(engine, "letter")] == [None]


def test_single_files_that_wait_share_a_job(engine: Engine, store: Store) -> None:
    files = [upload(engine, f"{number}.md", f"Thing {number} is here.") for number in range(5)]
    for file in files:
        attach(engine, store, file)
    assert [len(job.paths) for job in engine.jobs.all()] == [5]
    assert work(engine) == 1
    assert engine.store_files.counts(store.id)["completed"] == 5


def test_pages_go_both_ways(engine: Engine, store: Store) -> None:
    files = [upload(engine, f"{number}.md", f"Thing {number}.").id for number in range(5)]
    for file in files:
        attach(engine, store, *[each for each in [engine.files.find(file)] if each])

    def page(**how: object) -> tuple[list[int], bool]:
        rows, more = engine.store_files.page(store.id, **how)  # type: ignore[arg-type]
        return [files.index(row.file_id) for row in rows], more

    assert page(limit=2) == ([4, 3], True)
    assert page(limit=2, after=files[3]) == ([2, 1], True)
    assert page(limit=2, after=files[1]) == ([0], False)
    assert page(limit=2, before=files[1]) == ([3, 2], True)
    assert page(limit=9, order="asc") == ([0, 1, 2, 3, 4], False)
    assert page(limit=2, order="asc", after=files[1]) == ([2, 3], True)
    assert page(limit=9, status="completed") == ([], False)
    with pytest.raises(NotFoundError):
        page(limit=2, after="file-none")


def test_a_worker_does_what_waits_and_tells_how_far_it_is(engine: Engine, store: Store) -> None:
    files = [upload(engine, f"{number}.md", f"Thing {number} is here.") for number in range(3)]

    async def use() -> list[dict[str, int]]:
        async with BackgroundWorker(engine, poll_seconds=60) as worker:
            attachments = Attachments(engine, worker.wake)
            _, batch = await attachments.attach(store, [Attachment(file) for file in files], with_batch=True)
            return [dict(counts) async for counts in attachments.progress(store, batch or "")]

    counts = asyncio.run(asyncio.wait_for(use(), 60))
    assert counts[-1]["completed"] == 3
    assert is_whole(engine, store)


def test_a_worker_that_ends_leaves_its_job_to_the_next(tmp_path: Path) -> None:
    """It ends while the embedder works; nothing is half written, and the next one goes on."""

    async def use(embedder: WaitingEmbedder, engine: Engine) -> None:
        async with BackgroundWorker(engine):
            await embedder.began.wait()

    embedder = WaitingEmbedder()
    with fake_engine(tmp_path / "data", embedder) as engine:
        store = make_store(engine)
        file = upload(engine, "note.md", LONG)
        attach(engine, store, file)
        asyncio.run(asyncio.wait_for(use(embedder, engine), 60))
        assert engine.jobs.all()[0].state == "stopped"
        assert engine.store_files.get(store.id, file.id).status == "in_progress"
        embedder.waits = False
        assert work(engine) == 1
        assert engine.store_files.get(store.id, file.id).status == "completed"
        assert is_whole(engine, store)


class WaitingEmbedder(BagOfWordsEmbedder):
    """Says that it began, and waits to be cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.began = asyncio.Event()
        self.waits = True

    async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.waits:
            self.began.set()
            await asyncio.Event().wait()
        return await super().embed_passages(texts)


def test_files_of_a_job_that_cannot_go_on_fail_with_its_reason(tmp_path: Path) -> None:
    async def use(engine: Engine, store: Store, file: StoredFile) -> None:
        async with BackgroundWorker(engine, poll_seconds=60) as worker:
            _, batch = await Attachments(engine, worker.wake).attach(store, [Attachment(file)], with_batch=True)
            assert [counts async for counts in Attachments(engine).progress(store, batch or "")][-1]["failed"] == 1

    with fake_engine(tmp_path / "data", FailingEmbedder("down")) as engine:
        store = make_store(engine)
        file = upload(engine, "note.md", LONG)
        asyncio.run(asyncio.wait_for(use(engine, store, file), 60))
        row = engine.store_files.get(store.id, file.id)
        assert (row.status, row.error_code, row.error_message) == ("failed", "server_error", "the embedder is down")


def test_the_doctor_and_why_know_uploads(engine: Engine, store: Store) -> None:
    file = upload(engine, "note.md", LONG)
    attach(engine, store, file, attributes={"v": 1}, groups=["staff"])
    assert explain(engine, store, f"upload:///{file.id}/note.md").verdict == "waiting"
    work(engine)
    doctor = Doctor(engine)
    assert asyncio.run(doctor.examine("default")).findings == []
    healthy = asyncio.run(doctor.digest("default"))
    told = explain(engine, store, "note.md")
    assert (told.verdict, told.facts["file"]) == ("indexed", "fresh")

    engine.documents.mending(store.id).drop_documents([document.id for document in engine.documents.all(store.id)])
    assert asyncio.run(doctor.examine("default")).counts["stale"] == 1  # the row says that it is completed
    assert asyncio.run(doctor.repair("default")).after.findings == []
    assert asyncio.run(doctor.digest("default")) == healthy

    engine.documents.mending(store.id).unsettle([document.id for document in engine.documents.all(store.id)])
    treated = asyncio.run(doctor.repair("default"))
    assert (treated.before.is_healthy, treated.after.findings) == (False, [])
    assert asyncio.run(doctor.digest("default")) == healthy

    path_of_upload(engine.settings.data_dir, file.id).unlink()
    found = asyncio.run(doctor.repair("default")).after
    assert found.counts == {"unreadable": 1}
    assert search(engine, "thing 7")[0].file_id == file.id  # it can still be cited


def test_a_document_without_an_attachment_is_removed_by_the_doctor(engine: Engine, store: Store) -> None:
    file = upload(engine, "note.md", LONG)
    attach(engine, store, file)
    work(engine)
    with engine.store_files._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM store_files")
    treated = asyncio.run(Doctor(engine).repair("default"))
    assert treated.before.counts["stale"] == 1
    assert treated.after.findings == []
    assert is_whole(engine, store)
    assert search(engine, "thing 7") == []


def test_removing_by_uri_detaches(engine: Engine, store: Store) -> None:
    file, other = upload(engine, "note.md", LONG), upload(engine, "other.md", "Other words.")
    attach(engine, store, file, other)
    work(engine)
    assert asyncio.run(remove(engine, "default", [f"upload:///{file.id}"])) == 1
    assert [row.file_id for row in engine.store_files.page(store.id, limit=5)[0]] == [other.id]
    assert is_whole(engine, store)
    assert {file_id_of(hit.uri) for hit in search(engine, "words")} == {other.id}
