"""Ledger, vector store and disk are made to disagree in every way: all is found, all is mended, nothing crashes."""

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from ingest.doctor import Doctor, Treatment
from ingest.findings import Examination
from ingest.freshness import Disk
from ingest.pipeline import Ingestor
from ingest.removal import remove as remove_documents
from rag.assembly import Engine, collection_name, make_engine
from rag.backends.vectors.edge_process import stop_worker
from rag.backends.vectors.memory import MemoryChunkStore
from rag.backends.vectors.qdrant_edge import EdgeChunkStore
from rag.documents import Point, SparseVector, document_id, store_id
from rag.errors import FingerprintMismatchError, InvalidInputError, StoreNotFoundError
from rag.filters import Filter, In
from rag.ledger.connection import FILE_NAME, connect
from rag.protocols import ChunkStore
from rag.settings import load_settings
from tests.fakes import DIMENSION, BagOfWordsEmbedder, fake_engine

STORE = store_id("default")
NOWHERE = str(uuid.UUID(int=7))


def write_docs(folder: Path, count: int = 60) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        words = " ".join(f"fact{number}x{word}" for word in range(300))
        (folder / f"{number:02}.md").write_text(f"# Note {number}\n\nIt tells of thing {number}. {words}\n")
    return folder


@dataclass
class Patient:
    """A store that is made ill."""

    engine: Engine
    docs: Path
    data: Path
    count: int = 4

    def file(self, number: int) -> Path:
        return self.docs / f"{number % self.count:02}.md"

    def uri(self, number: int) -> str:
        return self.file(number).as_uri()

    def id(self, number: int) -> str:
        return document_id(STORE, self.uri(number))

    def sql(self, statement: str, *values: object) -> list[tuple[str, ...]]:
        # A connection of its own, without foreign keys, as a hand at the file would have.
        connection = sqlite3.connect(self.data / FILE_NAME, timeout=30)
        with connection:
            rows = connection.execute(statement, values).fetchall()
        connection.close()
        return rows

    def generation(self, number: int) -> str:
        return self.sql("SELECT generation FROM documents WHERE uri = ?", self.uri(number))[0][0]

    def chunks(self, number: int) -> list[str]:
        rows = self.sql("SELECT id FROM chunks WHERE document_id = ? ORDER BY ordinal", self.id(number))
        return [row[0] for row in rows]

    def upsert(self, chunk: str, document: str, generation: str, vector: np.ndarray | None = None) -> str:
        dense = np.ones(DIMENSION, np.float32) if vector is None else vector
        point = Point(chunk, document, generation, dense, SparseVector((1,), (1.0,)))
        asyncio.run(self.engine.vectors.upsert(STORE, [point]))
        return chunk

    def delete(self, chunk: str) -> str:
        asyncio.run(self.engine.vectors.delete(STORE, In("chunk_id", (chunk,))))
        return chunk

    def update(self, table: str, change: str, number: int, *values: object) -> str:
        key = {"documents": "id", "generations": "document_id", "chunks": "document_id"}[table]
        where = f"{key} = ?" + (" AND ordinal = 0" if table == "chunks" else "")
        self.sql(f"UPDATE {table} SET {change} WHERE {where}", *values, self.id(number))  # noqa: S608
        return self.uri(number)


def random_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


def delete_row(patient: Patient, table: str, column: str, number: int) -> str:
    patient.sql(f"DELETE FROM {table} WHERE {column} = ?", patient.id(number))  # noqa: S608
    return patient.uri(number)


def leave_generation(patient: Patient, state: str, number: int) -> str:
    generation = random_id(number).replace("-", "")
    row = (patient.id(number), generation, STORE, state)
    patient.sql("INSERT INTO generations (document_id, generation, store_id, state) VALUES (?, ?, ?, ?)", *row)
    patient.upsert(random_id(number), patient.id(number), generation)
    return patient.uri(number)


def write(patient: Patient, number: int, text: str) -> str:
    patient.file(number).write_text(text)
    return patient.uri(number)


def remove(patient: Patient, number: int) -> str:
    patient.file(number).unlink()
    return patient.uri(number)


def leave_out(patient: Patient, number: int) -> str:
    (patient.docs / ".quothignore").write_text(f"{patient.file(number).name}\n")
    return patient.uri(number)


def run_sql(patient: Patient, named: str, statement: str, *values: object) -> str:
    patient.sql(statement, *values)
    return named


# What is done, the kinds that are sensible for it, and what a finding of them must name: a URI or an id.
Drift = tuple[str, Callable[[Patient], str]]
DRIFTS: list[Drift] = [
    ("missing", lambda p: p.delete(p.chunks(0)[0])),
    ("missing", lambda p: p.delete(p.chunks(0)[1])),
    ("missing", lambda p: p.delete(p.chunks(1)[0])),
    ("missing", lambda p: p.delete(p.chunks(2)[1])),
    ("extra", lambda p: p.upsert(random_id(3), NOWHERE, "g")),
    ("extra", lambda p: p.upsert(random_id(4), NOWHERE, p.generation(4))),
    ("extra", lambda p: p.upsert(random_id(5), p.id(5), "an older one")),
    ("duplicated", lambda p: p.upsert(random_id(6), p.id(6), p.generation(6))),
    ("duplicated", lambda p: p.upsert(random_id(7), p.id(7), p.generation(7))),
    ("misfiled", lambda p: p.upsert(p.chunks(8)[0], NOWHERE, p.generation(8))),
    ("misfiled", lambda p: p.upsert(p.chunks(9)[0], p.id(8), p.generation(9))),
    ("misfiled", lambda p: p.upsert(p.chunks(10)[1], p.id(10), "another")),
    ("vectorless", lambda p: p.upsert(p.chunks(11)[0], p.id(11), p.generation(11), np.zeros(DIMENSION, np.float32))),
    ("vectorless", lambda p: p.upsert(p.chunks(12)[1], p.id(12), p.generation(12), np.zeros(DIMENSION, np.float32))),
    ("altered", lambda p: p.update("documents", "title = 'Forged'", 13)),
    ("altered", lambda p: p.update("documents", "source_sha256 = 'ff'", 14)),
    ("altered", lambda p: p.update("documents", "generation = 'ff'", 15)),
    ("altered", lambda p: p.update("documents", "attributes = '{broken'", 16)),
    ("altered", lambda p: p.update("documents", "attributes = '{\"forged\": 1}'", 17)),
    ("orphaned", lambda p: run_sql(p, NOWHERE, "UPDATE documents SET id = ? WHERE uri = ?", NOWHERE, p.uri(18))),
    ("orphaned", lambda p: run_sql(p, p.id(19), "UPDATE documents SET uri = 'no file' WHERE id = ?", p.id(19))),
    ("orphaned", lambda p: delete_row(p, "documents", "id", 20) and p.chunks(20)[0]),
    ("altered", lambda p: p.update("documents", "mtime_ns = 'abc'", 21)),
    ("altered", lambda p: p.update("documents", "sketch = 'abc'", 22)),
    ("altered", lambda p: p.update("documents", "recipe = 'forged'", 23)),
    ("orphaned", lambda p: p.update("documents", "store_id = 'none'", 24)),
    ("outdated", lambda p: p.update("documents", "digest = NULL", 25)),
    ("altered", lambda p: p.update("documents", "digest = 'forged'", 26)),
    ("altered", lambda p: p.update("generations", "text = replace(text, 'tells', 'lies')", 27)),
    ("altered", lambda p: p.update("generations", "text = NULL", 28)),
    ("altered", lambda p: delete_row(p, "generations", "document_id", 29)),
    ("unembedded", lambda p: p.update("generations", "state = 'writing'", 30)),
    ("unembedded", lambda p: p.update("generations", "state = 'nonsense'", 31)),
    ("unembedded", lambda p: leave_generation(p, "writing", 32)),
    ("orphaned", lambda p: leave_generation(p, "retired", 33)),
    ("orphaned", lambda p: leave_generation(p, "active", 34)),
    ("altered", lambda p: p.update("generations", "text = CAST(x'ff' AS TEXT) || text", 35)),
    ("altered", lambda p: delete_row(p, "chunks", "document_id", 36)),
    ("orphaned", lambda p: p.update("chunks", "id = 'nonsense'", 37)),
    ("orphaned", lambda p: p.update("chunks", "char_end = 1000000", 38)),
    ("altered", lambda p: p.update("chunks", "headings = '[broken'", 39)),
    ("altered", lambda p: p.update("chunks", "ordinal = 'abc'", 40)),
    ("orphaned", lambda p: run_sql(p, p.chunks(41)[0], "UPDATE chunks SET document_id = ? WHERE id = ?", NOWHERE,
                                   p.chunks(41)[0])),
    ("altered", lambda p: p.update("chunks", "blocks = '[]'", 42)),
    ("altered", lambda p: p.update("chunks", "prefix = x'00'", 43)),
    ("altered", lambda p: p.update("chunks", "store_id = 'none'", 44)),
    ("orphaned", lambda p: run_sql(p, "file:///odd", "INSERT INTO refusals VALUES (?, 'file:///odd', 'perhaps', 'x', "
                                   "'x', 0, 0, '', 0)", STORE)),
    ("orphaned", lambda p: run_sql(p, "no root", "INSERT INTO roots VALUES (?, 'no root', 0)", STORE)),
    ("orphaned", lambda p: run_sql(p, "job", "INSERT INTO jobs (id, store_id, state, paths, retry, fence, created_at, "
                                   "counts, error) VALUES ('job', ?, 'waiting', '{broken', 0, 0, 0, '{}', '')", STORE)),
    ("orphaned", lambda p: run_sql(p, "job2", "INSERT INTO jobs (id, store_id, state, paths, retry, fence, created_at, "
                                   "counts, error) VALUES ('job2', ?, 'failed', '[\"a\"]', 0, 0, 0, '{}', '')", STORE)),
    ("orphaned", lambda p: run_sql(p, "lost", "INSERT INTO job_files VALUES ('lost', 0, 'u', 'u', 0, 'todo', '', 0)")),
    ("orphaned", lambda p: run_sql(p, f"store:{STORE}", "UPDATE leases SET expires_at = 'never', place = 'other'")),
    ("stale", lambda p: write(p, 45, "# Note 45\n\nAll of it is new.\n")),
    ("stale", lambda p: write(p, 46, "")),
    ("altered", lambda p: run_sql(p, "https://a/b", "INSERT INTO documents SELECT ?, store_id, 'https://a/b', title, "
                                "media_type, attributes, size_bytes, mtime_ns, checked_ns, source_sha256, recipe, "
                                "'g', digest, sketch, groups FROM documents LIMIT 1", document_id(STORE, "https://a/b"))),
    ("stale", lambda p: remove(p, 47)),
    ("stale", lambda p: leave_out(p, 48)),
    ("altered", lambda p: p.update("documents", "groups = '[\"forged\"]'", 49)),
]  # fmt: skip


def ingest(engine: Engine, docs: Path, store: str = "default") -> None:
    asyncio.run(Ingestor(engine).run([docs], store))


def named(found: Examination, kind: str, what: str) -> bool:
    return any(one.kind == kind and (what == one.uri or what in one.ids) for one in found.findings)


def make_ill(patient: Patient) -> list[tuple[str, str]]:
    return [(kind, drift(patient)) for kind, drift in DRIFTS]


@pytest.fixture(params=["memory", "edge"])
def vectors(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChunkStore]:
    if request.param == "memory":
        yield MemoryChunkStore(DIMENSION)
        return
    store = EdgeChunkStore(tmp_path / "data", "fake", DIMENSION)
    yield store
    asyncio.run(store.close())
    stop_worker(tmp_path / "data")


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Patient]:
    docs = write_docs(tmp_path / "docs", 4)
    with fake_engine(tmp_path / "data") as engine:
        ingest(engine, docs)
        yield Patient(engine, docs, tmp_path / "data")


def examine(engine: Engine, store: str = "default") -> Examination:
    return asyncio.run(Doctor(engine).examine(store))


def repair(engine: Engine) -> Treatment:
    return asyncio.run(Doctor(engine).repair("default"))


def digest(engine: Engine, store: str = "default") -> str:
    return asyncio.run(Doctor(engine).digest(store))


def clean_digest(docs: Path, data: Path, store: str = "default") -> str:
    with fake_engine(data) as engine:
        ingest(engine, docs, store)
        assert examine(engine, store).is_healthy
        return digest(engine, store)


def test_every_drift_is_found_and_mended(tmp_path: Path, vectors: ChunkStore) -> None:
    docs = write_docs(tmp_path / "docs")
    with fake_engine(tmp_path / "data", vectors=vectors) as engine:
        ingest(engine, docs)
        assert examine(engine).is_healthy
        patient = Patient(engine, docs, tmp_path / "data", count=60)
        drifts = make_ill(patient)
        assert len(drifts) >= 50
        treated = repair(engine)
        assert [drift for drift in drifts if not named(treated.before, *drift)] == []
        assert treated.after.findings == []
        assert digest(engine) == clean_digest(docs, tmp_path / "clean")
        # What was whole before is not taken for ill: documents 50 to 59 are named by nothing.
        whole = {patient.uri(number) for number in range(50, 60)}
        assert not whole & {one.uri for one in treated.before.findings}


@pytest.mark.parametrize("number", range(len(DRIFTS)))
def test_each_drift_alone_is_found_and_mended(tmp_path: Path, patient: Patient, number: int) -> None:
    kind, drift = DRIFTS[number]
    what = drift(patient)
    treated = repair(patient.engine)
    assert named(treated.before, kind, what), treated.before.as_dict()
    assert treated.after.findings == []
    assert digest(patient.engine) == clean_digest(patient.docs, tmp_path / "clean")


@pytest.mark.slow
@pytest.mark.parametrize("table", ["documents", "generations", "chunks", "refusals", "roots", "jobs", "leases"])
def test_no_cell_can_make_it_crash(tmp_path: Path, table: str) -> None:
    docs = write_docs(tmp_path / "docs", 2)
    (docs / "odd.bin").write_bytes(b"\x7fELF")
    with fake_engine(tmp_path / "data") as engine:
        ingest(engine, docs)
        patient = Patient(engine, docs, tmp_path / "data", count=2)
        healthy = digest(engine)
        for column in patient.sql("SELECT name FROM pragma_table_info(?)", table):
            for nonsense in ("CAST(x'ff' AS TEXT)", "x'00'", "'abc'"):
                first = f"rowid = (SELECT min(rowid) FROM {table})"  # noqa: S608
                patient.sql(f"UPDATE {table} SET {column[0]} = {nonsense} WHERE {first}")  # noqa: S608
                treated = repair(engine)
                assert treated.after.findings == [], (column, nonsense)
                assert digest(engine) == healthy, (column, nonsense)
                ingest(engine, docs)  # what was lost beside the documents comes back, for the next cell


def test_an_examination_changes_nothing(patient: Patient) -> None:
    patient.delete(patient.chunks(0)[0])
    patient.update("documents", "title = 'Forged'", 1)
    before = digest(patient.engine)
    assert examine(patient.engine).counts == examine(patient.engine).counts == {"missing": 1, "altered": 1}
    assert digest(patient.engine) == before


def test_the_digest_is_that_of_the_contents(tmp_path: Path, patient: Patient) -> None:
    healthy = digest(patient.engine)
    assert healthy == clean_digest(patient.docs, tmp_path / "elsewhere")
    assert healthy == clean_digest(patient.docs, tmp_path / "again", store="another-name")
    seen = {healthy}
    for drift in (
        lambda: patient.update("generations", "text = replace(text, 'tells', 'tales')", 0),
        lambda: patient.delete(patient.chunks(1)[0]),
        lambda: patient.upsert(patient.chunks(2)[0], patient.id(1), patient.generation(2)),
        lambda: patient.upsert(random_id(1), NOWHERE, "g"),
        lambda: patient.update("documents", "uri = 'elsewhere'", 3),
    ):
        drift()
        assert digest(patient.engine) not in seen
        seen.add(digest(patient.engine))


def test_a_point_that_is_missing_is_made_without_reading_the_file(patient: Patient) -> None:
    chunk = patient.delete(patient.chunks(0)[0])
    assert isinstance(patient.engine.embedder, BagOfWordsEmbedder)
    before = patient.engine.embedder.embedded
    assert repair(patient.engine).after.is_healthy
    assert patient.engine.embedder.embedded == before + 1
    found = asyncio.run(patient.engine.retriever.search("default", "fact0x1 fact0x2")).hits
    assert found[0].chunk.id == chunk


def test_an_altered_document_without_a_file_is_not_kept(patient: Patient) -> None:
    patient.update("generations", "text = replace(text, 'tells', 'lies')", 0)
    remove(patient, 0)
    assert repair(patient.engine).after.is_healthy
    hits = asyncio.run(patient.engine.retriever.search("default", "lies")).hits
    assert patient.uri(0) not in {hit.uri for hit in hits}


def test_a_document_below_no_root_gets_its_root_back(patient: Patient) -> None:
    patient.sql("DELETE FROM roots")
    found = repair(patient.engine)
    assert found.before.counts == {"stale": 4}
    assert found.after.is_healthy
    assert patient.engine.jobs.roots(STORE) == [patient.docs.as_uri()]


def test_another_embedder_cannot_be_repaired(patient: Patient) -> None:
    with fake_engine(patient.data, BagOfWordsEmbedder("another")) as other:
        found = repair(other)
        assert found.before.counts == found.after.counts == {"mismatched": 1}
        assert "QUOTH_EMBEDDER__MODEL" in found.after.findings[0].message
        with pytest.raises(FingerprintMismatchError):
            digest(other)


@pytest.mark.parametrize(
    ("column", "value"), [("fingerprint", "{broken"), ("fingerprint", '{"model": "x"}'), ("collection", "elsewhere")]
)
def test_a_store_row_is_restored_where_the_rest_proves_it(tmp_path: Path, column: str, value: str) -> None:
    docs, data, embedder = write_docs(tmp_path / "docs", 3), tmp_path / "data", BagOfWordsEmbedder()
    ledger = connect(data)
    name = collection_name(embedder.fingerprint)
    settings = load_settings({"data_dir": data})
    engine = make_engine(settings, ledger, MemoryChunkStore(DIMENSION), embedder, name)
    ingest(engine, docs)
    patient = Patient(engine, docs, data)
    patient.sql(f"UPDATE stores SET {column} = ?", value)  # noqa: S608
    treated = repair(engine)
    assert treated.before.counts == {"altered": 1}
    assert treated.after.is_healthy
    assert engine.stores.get("default").collection == name
    if column == "fingerprint":
        patient.sql("UPDATE stores SET fingerprint = '{broken', collection = 'lost'")
        assert repair(engine).after.counts == {"mismatched": 1}
    ledger.dispose()


def test_a_uri_that_is_no_files_and_a_folder_that_is_gone(patient: Patient) -> None:
    disk = Disk(patient.engine, patient.engine.documents.inspection(STORE))
    record = next(patient.engine.documents.all(STORE))
    assert disk.judge(record).verdict == "fresh"
    assert disk.judge(replace(record, uri="https://a/b")).verdict == "gone"
    assert disk.judge(replace(record, uri=f"{record.uri}/below")).verdict == "gone"
    assert disk.judge(replace(record, source_sha256="", mtime_ns=0)).verdict == "changed"
    assert disk.judge(replace(record, recipe="")).verdict == "reread"
    patient.docs.rename(patient.docs.with_name("moved"))
    treated = repair(patient.engine)
    assert (treated.before.counts, treated.after.is_healthy) == ({"stale": 4}, True)
    assert patient.engine.documents.count_chunks(STORE) == 0


def test_copies_and_near_copies_are_notes_and_no_faults(patient: Patient) -> None:
    text = (patient.docs / "00.md").read_text()
    (patient.docs / "copy.md").write_text(text)
    (patient.docs / "near.md").write_text(text + "One sentence more.\n")
    (patient.docs / "odd.bin").write_bytes(b"\x7fELF")
    ingest(patient.engine, patient.docs)
    found = examine(patient.engine)
    assert found.is_healthy
    assert found.note_counts == {"copies": 1, "similar": 1, "refused": 1}
    by_kind = {note.kind: note for note in found.notes}
    assert set(by_kind["copies"].uris) == {patient.uri(0), (patient.docs / "copy.md").as_uri()}
    assert (patient.docs / "near.md").as_uri() in by_kind["similar"].uris


def test_a_rule_that_cannot_be_understood_is_said(patient: Patient) -> None:
    (patient.docs / ".quothignore").write_bytes(b"\xff\n")
    found = examine(patient.engine)
    assert found.counts == {"unreadable": 1}
    assert found.note_counts == {"closed": 4}
    assert "UTF-8" in found.findings[0].message
    assert repair(patient.engine).after.counts == {"unreadable": 1}
    patient.update("documents", "title = 'Forged'", 0)
    with pytest.raises(InvalidInputError, match="UTF-8"):
        repair(patient.engine)  # before anything is dropped that could not be read again
    (patient.docs / ".quothignore").unlink()
    assert repair(patient.engine).after.is_healthy
    assert len(list(patient.engine.documents.all(STORE))) == 4


def test_files_that_came_later_or_were_removed_are_no_faults(patient: Patient) -> None:
    (patient.docs / "later.md").write_text("A file that came later.")
    asyncio.run(remove_documents(patient.engine, "default", [str(patient.file(1))]))
    patient.delete(patient.chunks(0)[0])
    treated = repair(patient.engine)
    assert (treated.before.counts, treated.after.is_healthy) == ({"missing": 1}, True)
    (note,) = treated.after.notes
    assert (note.kind, set(note.uris)) == ("unread", {patient.uri(1), (patient.docs / "later.md").as_uri()})


class Killed(BaseException):
    """As the end of a process."""


class MortalStore(MemoryChunkStore):
    """Ends the process in the middle of a repair."""

    async def delete(self, store_id: str, where: Filter | None = None) -> None:
        if self.is_mortal:
            raise Killed
        await super().delete(store_id, where)

    is_mortal = False


def test_a_repair_that_was_killed_loses_no_document(tmp_path: Path) -> None:
    docs, vectors = write_docs(tmp_path / "docs", 4), MortalStore(DIMENSION)
    with fake_engine(tmp_path / "data", vectors=vectors) as engine:
        ingest(engine, docs)
        patient = Patient(engine, docs, tmp_path / "data")
        patient.update("generations", "text = replace(text, 'tells', 'lies')", 0)
        vectors.is_mortal = True
        with pytest.raises(Killed):
            repair(engine)
        assert len(list(engine.documents.all(STORE))) == 3
        vectors.is_mortal = False
        found = examine(engine)
        assert found.note_counts["unfinished"] == 1  # and `sync` takes the job up
        assert repair(engine).after.is_healthy
        ingest(engine, docs)
        assert examine(engine).note_counts == {}
        assert digest(engine) == clean_digest(docs, tmp_path / "clean")


def test_more_findings_than_are_listed_are_counted(patient: Patient) -> None:
    point = Point(NOWHERE, NOWHERE, "g", np.ones(DIMENSION, np.float32), SparseVector((), ()))
    points = [replace(point, chunk_id=random_id(number)) for number in range(1500)]
    asyncio.run(patient.engine.vectors.upsert(STORE, points))
    treated = repair(patient.engine)
    assert treated.before.counts == {"extra": 1500}
    assert len(treated.before.findings) == 1000
    assert treated.after.is_healthy


def test_an_empty_vector_store_is_filled_again(patient: Patient) -> None:
    asyncio.run(patient.engine.vectors.delete(STORE))
    healthy = digest(patient.engine)
    treated = repair(patient.engine)
    assert set(treated.before.counts) == {"missing"}
    assert treated.after.is_healthy
    assert digest(patient.engine) != healthy


def test_a_store_that_is_not_there_is_said(patient: Patient) -> None:
    with pytest.raises(StoreNotFoundError, match="nothing"):
        examine(patient.engine, "nothing")
