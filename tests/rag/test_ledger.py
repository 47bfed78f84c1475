"""The ledger: what queries see, what an interrupted ingest leaves behind, and migrations."""

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from rag.documents import Block, Candidate, Chunk, Locator, Scores, chunk_id, document_id, text_key
from rag.errors import (
    ConfigurationError,
    FingerprintMismatchError,
    InvalidInputError,
    StorageError,
    StorageUnavailableError,
    StoreNotFoundError,
)
from rag.ledger import served_tables  # noqa: F401 (they join the metadata)
from rag.ledger.connection import connect
from rag.ledger.documents import DocumentRecord, Documents, Indexed
from rag.ledger.jobs import JobFile, Jobs
from rag.ledger.refusals import Refusal, Refusals
from rag.ledger.stores import Store, Stores
from rag.ledger.tables import metadata
from rag.protocols import Fingerprint

FINGERPRINT = Fingerprint("model", "1", "abc", "", "", "cls", True, 4)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    return Stores(engine).get_or_create("default", "collection", FINGERPRINT)


def indexed(store: Store, uri: str, text: str, generation: str) -> Indexed:
    identity = document_id(store.id, uri)
    chunk = Chunk(
        id=chunk_id(identity, generation, 0), document_id=identity, generation=generation, ordinal=0, text=text[2:],
        char_start=2, char_end=len(text), headings=("A", "B"), locator=Locator(page=3, lines=(1, 4)),
        blocks=(Block(0, len(text), "paragraph", ("A", "B"), Locator(page=3, lines=(1, 4))),),
    )  # fmt: skip
    record = DocumentRecord(
        id=identity, store_id=store.id, uri=uri, title="Title", media_type="text/plain", attributes={"year": 2026},
        size_bytes=1, mtime_ns=2, checked_ns=3, source_sha256="00", recipe="r", generation=generation,
    )  # fmt: skip
    return Indexed(record, text, [chunk])


def candidates(item: Indexed) -> list[Candidate]:
    return [Candidate(c.id, c.document_id, c.generation, Scores(dense=0.5)) for c in item.chunks]


def write(documents: Documents, item: Indexed) -> list[tuple[str, str]]:
    documents.begin(item.record.store_id, [(item.record.id, item.record.generation)])
    return documents.switch([item])


def test_a_document_is_seen_only_after_the_switch(engine: Engine, store: Store) -> None:
    documents = Documents(engine)
    item = indexed(store, "file:///a/ü.md", "🙂 hello", "g1")
    documents.begin(store.id, [(item.record.id, "g1")])
    assert documents.join([store.id], candidates(item)) == []
    assert documents.leftovers(store.id) == [(item.record.id, "g1")]
    documents.switch([item])
    (hit,) = documents.join([store.id], candidates(item))
    assert hit.chunk == item.chunks[0]
    assert (hit.title, hit.uri, hit.score) == ("Title", "file:///a/ü.md", 0.5)
    assert documents.leftovers(store.id) == []
    record = documents.at(store.id, ["file:///a/ü.md", "file:///b"])["file:///a/ü.md"]
    assert record == replace(item.record, digest=record.digest)
    assert list(documents.all(store.id)) == [record]


def test_a_new_generation_replaces_the_old_one_at_once(engine: Engine, store: Store) -> None:
    documents = Documents(engine)
    old, new = (indexed(store, "file:///a.md", f"{n} text", n) for n in ("g1", "g2"))
    assert write(documents, old) == []
    assert write(documents, new) == [(old.record.id, "g1")]
    assert [hit.chunk.generation for hit in documents.join([store.id], candidates(old) + candidates(new))] == ["g2"]
    assert documents.count_chunks(store.id) == 1
    assert documents.leftovers(store.id) == [(old.record.id, "g1")]
    documents.forget([(old.record.id, "g1")])
    assert documents.leftovers(store.id) == []


def test_forget_never_drops_what_queries_see(engine: Engine, store: Store) -> None:
    documents = Documents(engine)
    item = indexed(store, "file:///a.md", "some text", "g1")
    write(documents, item)
    documents.forget([(item.record.id, "g1")])
    assert len(documents.join([store.id], candidates(item))) == 1


def test_writing_a_generation_again_changes_nothing(engine: Engine, store: Store) -> None:
    documents = Documents(engine)
    item = indexed(store, "file:///a.md", "some text", "g1")
    write(documents, item)
    before = documents.dump(store.id)
    assert write(documents, item) == []
    assert documents.dump(store.id) == before == [("file:///a.md", "00", 0, item.chunks[0].id, "me text")]


def test_retiring_takes_text_and_chunks_away(engine: Engine, store: Store, tmp_path: Path) -> None:
    documents = Documents(engine)
    item = indexed(store, "file:///a.md", "0 xylophone-canary", "g1")
    write(documents, item)
    keys = documents.retire(store.id, [item.record.id])
    assert keys == [(item.record.id, "g1")] == documents.leftovers(store.id)
    assert documents.join([store.id], candidates(item)) == []
    documents.forget(keys)
    with engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    assert all(b"xylophone" not in path.read_bytes() for path in tmp_path.iterdir())


def test_what_is_gone_lies_at_or_below_the_roots(engine: Engine, store: Store) -> None:
    documents, jobs = Documents(engine), Jobs(engine)
    uris = ["file:///a", "file:///a/b.md", "file:///a/%20/c_d.md", "file:///a.md", "file:///ab/x.md", "file:///a-b/x"]
    for uri in uris:
        write(documents, indexed(store, uri, "some text", "g1"))

    def gone(*roots: str) -> list[str]:
        return [row[0] for row in jobs.gone(jobs.submit(store.id, roots), "", 100)]

    assert gone("file:///a") == sorted(uris[:3])
    assert gone("file:///a/", "file:///ab/x.md") == sorted([*uris[:3], uris[4]])
    assert len(gone("file:///")) == len(uris)
    assert gone() == []


def test_the_digest_covers_every_row(engine: Engine, store: Store) -> None:
    documents = Documents(engine)
    item = indexed(store, "file:///a.md", "some text", "g1")
    write(documents, item)
    digest = documents.at(store.id, ["file:///a.md"])["file:///a.md"].digest
    later = replace(item, record=replace(item.record, mtime_ns=9, checked_ns=9, size_bytes=9))
    renamed = replace(item, record=replace(item.record, title="Other"))
    moved = replace(item, chunks=[replace(item.chunks[0], char_end=8)])
    digests = []
    for other in (later, renamed, moved):
        documents.switch([other])
        digests.append(documents.at(store.id, ["file:///a.md"])["file:///a.md"].digest)
    assert digests[0] == digest
    assert len({digest, *digests}) == 3


def test_stores_do_not_see_each_other(engine: Engine, store: Store) -> None:
    documents, other = Documents(engine), Stores(engine).get_or_create("other", "collection", FINGERPRINT)
    item = indexed(store, "file:///a.md", "some text", "g1")
    write(documents, item)
    assert documents.join([other.id], candidates(item)) == []
    assert documents.retire(other.id, [item.record.id]) == []
    assert documents.at(other.id, ["file:///a.md"]) == {}
    assert documents.embedded_as(other.id, [text_key("me text")]) == {}
    assert documents.embedded_as(store.id, [text_key("me text")]) == {text_key("me text"): item.chunks[0].id}
    assert documents.count_chunks(store.id) == 1


def test_refusals_are_dropped_below_the_roots_only(engine: Engine, store: Store) -> None:
    refusals, jobs = Refusals(engine), Jobs(engine)
    first = [Refusal("file:///a/x", "failed", "corrupt", "m"), Refusal("file:///b/y", "skipped", "empty", "m")]
    refusals.replace(store.id, first)
    refusals.replace(store.id, [replace(first[0], reason="no_text")])
    assert refusals.at(store.id, ["file:///a/x", "file:///c"]) == {"file:///a/x": replace(first[0], reason="no_text")}
    job = jobs.submit(store.id, ["file:///a"])
    jobs.start(job.id)
    jobs.add(job.id, [JobFile(0, "file:///a/x", "file:///a", 1, "failed", "no_text")])
    jobs.drop_refusals(job)
    assert len(refusals.all(store.id)) == 2
    jobs.start(job.id)
    jobs.drop_refusals(job)
    assert refusals.all(store.id) == [first[1]]
    summary = Stores(engine).summary(store)
    assert (summary.skipped, summary.failed) == (1, 0)


def test_stores_are_bound_to_their_embedder(engine: Engine, store: Store) -> None:
    stores = Stores(engine)
    assert stores.get_or_create("default", "collection", FINGERPRINT) == store == stores.get("default")
    with pytest.raises(FingerprintMismatchError, match=r"model 'model', now 'better'.*quoth stores delete default"):
        stores.get_or_create("default", "c2", replace(FINGERPRINT, model="better"))
    with pytest.raises(StoreNotFoundError, match=r"'nope'.*Stores here: default"):
        stores.get("nope")
    for name in ("", "a/b", "x" * 65, "a b"):
        with pytest.raises(InvalidInputError, match="cannot name a store"):
            stores.get_or_create(name, "c", FINGERPRINT)


def test_deleting_a_store_leaves_nothing(engine: Engine, store: Store) -> None:
    documents, stores = Documents(engine), Stores(engine)
    write(documents, indexed(store, "file:///a.md", "some text", "g1"))
    Refusals(engine).replace(store.id, [Refusal("file:///b", "failed", "corrupt", "m")])
    jobs = Jobs(engine)
    job = jobs.submit(store.id, ["file:///b"])
    jobs.add(job.id, [JobFile(0, "file:///b", "file:///b", 1, "todo", "new")])
    jobs.remember_roots(job)
    stores.delete(store)
    with engine.connect() as connection:
        counts = [connection.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in metadata.tables]  # noqa: S608
    assert counts == [0] * len(metadata.tables)


def test_migrations_make_the_tables_of_the_code(engine: Engine) -> None:
    migrated = inspect(engine)
    for name, table in metadata.tables.items():
        assert [column["name"] for column in migrated.get_columns(name)] == [column.name for column in table.columns]
        indexes = {index["name"] for index in migrated.get_indexes(name) if not index["unique"]}
        assert indexes == {str(index.name) for index in table.indexes}


def test_many_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            connect(tmp_path).dispose()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    engine = connect(tmp_path)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ConfigurationError, match="newer Quoth"):
        connect(tmp_path)


def test_a_data_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be made"):
        connect(tmp_path / "file" / "data")


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database, but long enough to be looked at " * 100)
    with pytest.raises(StorageError, match=r"ledger\.sqlite"):
        connect(tmp_path)


def test_a_locked_ledger_is_said(engine: Engine, store: Store, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with engine.connect() as connection:
            connection.execute(text("PRAGMA busy_timeout = 10"))
            with pytest.raises(StorageUnavailableError, match="locked"):
                connection.execute(text("UPDATE stores SET name = 'x'"))
