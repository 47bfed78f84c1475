"""Documents and their generations: what queries see, and what an interrupted ingest has left to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, and_, bindparam, delete, func, insert, select, tuple_, update

from rag.attributes import date_of, file_id_of, of_user
from rag.documents import AttributeValue, Block, BlockKind, Candidate, Chunk, Locator, SearchHit, text_key
from rag.ledger.connection import purge
from rag.ledger.generations import GenerationKey, retire
from rag.ledger.inspection import Inspection
from rag.ledger.jobs import note_indexed, note_withdrawn
from rag.ledger.leases import Lease
from rag.ledger.mending import Mending
from rag.ledger.outlines import Outline, read_outlines
from rag.ledger.refusals import drop
from rag.ledger.store_files import claim
from rag.ledger.tables import chunks, documents, generations
from rag.ledger.uris import below

# SQLite allows 32,766 variables in a statement; a batch of rows must stay below that.
BATCH = 500


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """One indexed document, as its source was when it was read.

    Attributes:
        digest: SHA-256 over all of its rows that a citation depends on, set by `switch`; None if an older version of
            Quoth wrote them.
        sketch: of its words, for finding near duplicates.
        groups: that may read it; empty where everyone may who may read the store.
    """

    id: str
    store_id: str
    uri: str
    title: str
    media_type: str
    attributes: Mapping[str, AttributeValue]
    size_bytes: int
    mtime_ns: int
    checked_ns: int
    source_sha256: str
    recipe: str
    generation: str
    digest: str | None = None
    sketch: bytes | None = None
    groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Indexed:
    """A document ready to be switched to: its row, its canonical text and its chunks.

    `usage_bytes` are those of its text and its vectors.
    """

    record: DocumentRecord
    text: str
    chunks: Sequence[Chunk]
    usage_bytes: int = 0


class Documents:
    """The documents of one ledger. Every method works inside the store whose id it is given."""

    def __init__(self, engine: Engine, lease: Lease | None = None) -> None:
        """With a lease, every transaction that writes fails with LeaseLostError once somebody else has it."""
        self._engine = engine
        self._lease = lease

    def under_lease(self, lease: Lease) -> Documents:
        """The same documents, written to under a lease."""
        return Documents(self._engine, lease)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            if self._lease:
                self._lease.require(connection)
            yield connection

    def inspection(self, store_id: str) -> Inspection:
        """A look at the rows as they stand."""
        return Inspection(self._engine, store_id)

    def mending(self, store_id: str) -> Mending:
        """What sets rows right that an inspection found."""
        return Mending(self._engine, store_id, self._lease)

    def at(self, store_id: str, uris: Sequence[str]) -> dict[str, DocumentRecord]:
        """The documents of these URIs, by URI."""
        found: dict[str, DocumentRecord] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(uris), BATCH):
                some = documents.c.uri.in_(uris[start : start + BATCH])
                rows = connection.execute(select(documents).where(documents.c.store_id == store_id, some)).mappings()
                found.update({row["uri"]: _record(row) for row in rows})
        return found

    def all(self, store_id: str) -> Iterator[DocumentRecord]:
        """Every document, in the order of their ids, read a page at a time."""
        last = ""
        while True:
            query = select(documents).where(documents.c.store_id == store_id, documents.c.id > last)
            with self._engine.connect() as connection:
                rows = connection.execute(query.order_by(documents.c.id).limit(BATCH)).mappings().all()
            yield from (_record(row) for row in rows)
            if len(rows) < BATCH:
                return
            last = rows[-1]["id"]

    def below(self, store_id: str, roots: Sequence[str], limit: int) -> list[str]:
        """The ids of documents at and below these URIs, in no order."""
        query = select(documents.c.id).where(documents.c.store_id == store_id, below(documents.c.uri, roots))
        with self._engine.connect() as connection:
            return list(connection.scalars(query.limit(limit)))

    def embedded_as(self, store_id: str, keys: Sequence[str]) -> dict[str, str]:
        """For each text key (see rag.documents.text_key) that a visible chunk has, the id of one such chunk."""
        found: dict[str, str] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(keys), BATCH):
                some = chunks.c.text_key.in_(keys[start : start + BATCH])
                query = select(chunks.c.text_key, chunks.c.id).where(chunks.c.store_id == store_id, some)
                found.update({row[0]: row[1] for row in connection.execute(query)})
        return found

    def begin(self, store_id: str, keys: Sequence[GenerationKey]) -> None:
        """Note that points of these generations are about to be written."""
        with self._transaction() as connection:
            known = _states(connection, keys)
            for document, generation in keys:
                row = {"document_id": document, "generation": generation}
                state = known.get((document, generation))
                if state is None:
                    connection.execute(insert(generations).values(**row, store_id=store_id, state="writing"))
                elif state == "retired":
                    connection.execute(update(generations).where(_is(row)).values(state="writing"))

    def switch(self, ready: Sequence[Indexed], job_id: str | None = None) -> list[GenerationKey]:
        """Make these generations the ones that queries see, and note it in the job, in one transaction.

        An upload that the job is no longer to read, since it was detached for example, is not switched to.

        Returns:
            The generations that they replace, now retired: their points are to be deleted, then `forget` called. Those
            that were not switched to are among them.
        """
        retired: list[GenerationKey] = []
        uris: list[str] = []
        withdrawn: list[str] = []
        with self._transaction() as connection:
            for item in ready:
                wanted = _is_wanted(connection, item, job_id)
                retired += _switch_one(connection, item) if wanted else _abandon(connection, item.record)
                (uris if wanted else withdrawn).append(item.record.uri)
            drop(connection, ready[0].record.store_id, uris)
            if job_id:
                note_indexed(connection, job_id, uris)
                note_withdrawn(connection, job_id, withdrawn)
        return retired

    def touch(self, records: Sequence[DocumentRecord]) -> None:
        """Note that these sources were looked at again and hold the same bytes."""
        with self._transaction() as connection:
            for record in records:
                connection.execute(
                    update(documents)
                    .where(documents.c.id == record.id)
                    .values(size_bytes=record.size_bytes, mtime_ns=record.mtime_ns, checked_ns=record.checked_ns)
                )

    def retire(self, store_id: str, document_ids: Sequence[str]) -> list[GenerationKey]:
        """Take documents out of sight; returns their generations, whose points are to be deleted."""
        with self._transaction() as connection:
            return retire(connection, store_id, document_ids)

    def leftovers(self, store_id: str) -> list[GenerationKey]:
        """Generations that an interrupted ingest left half written or half deleted."""
        query = select(generations.c.document_id, generations.c.generation).where(
            generations.c.store_id == store_id, generations.c.state != "active"
        )
        with self._engine.connect() as connection:
            return [(row[0], row[1]) for row in connection.execute(query)]

    def forget(self, keys: Sequence[GenerationKey]) -> None:
        """Drop generations whose points are gone."""
        with self._transaction() as connection:
            for start in range(0, len(keys), BATCH):
                some = keys[start : start + BATCH]
                key = tuple_(generations.c.document_id, generations.c.generation)
                connection.execute(delete(generations).where(key.in_(some), generations.c.state != "active"))

    def purge(self) -> None:
        """Make what was deleted unreadable in the ledger's files, as far as its readers let it."""
        purge(self._engine)

    def content(self, record: DocumentRecord) -> Indexed | None:
        """A document as it is stored, without its points; None when it is not whole any more."""
        mine = (generations.c.document_id == record.id, generations.c.generation == record.generation)
        ordered = (
            select(chunks, _slice())
            .select_from(_chunks_of_active())
            .where(chunks.c.document_id == record.id, chunks.c.generation == record.generation)
            .order_by(chunks.c.ordinal)
        )
        with self._engine.connect() as connection:
            text = connection.scalars(select(generations.c.text).where(*mine)).first()
            found = [_chunk(row) for row in connection.execute(ordered).mappings()]
        return Indexed(record, text, found) if text and found else None

    def count_chunks(self, store_id: str) -> int:
        """Chunks that queries can find."""
        with self._engine.connect() as connection:
            return int(connection.execute(select(func.count()).where(chunks.c.store_id == store_id)).scalar_one())

    def join(self, store_ids: Sequence[str], candidates: Sequence[Candidate]) -> list[SearchHit]:
        """Complete candidates with text, title and URI; those of a generation that is not active are dropped."""
        with self._engine.connect() as connection:
            rows = _visible(connection, store_ids, [candidate.chunk_id for candidate in candidates])
        hits = []
        for candidate in candidates:
            row = rows.get(candidate.chunk_id)
            if row is not None:
                hits.append(_hit(row, candidate))
        return hits

    def outlines(self, around: Sequence[Chunk], reach: int) -> list[Outline]:
        """Where the chunks near these stand; see `read_outlines`."""
        with self._engine.connect() as connection:
            return read_outlines(connection, around, reach)

    def dump(self, store_id: str) -> list[tuple[str, str, int, str, str]]:
        """(uri, source hash, ordinal, chunk id, chunk text) of all chunks, sorted: what two equal stores agree on."""
        query = (
            select(documents.c.uri, documents.c.source_sha256, chunks.c.ordinal, chunks.c.id, _slice())
            .select_from(_chunks_of_active())
            .where(chunks.c.store_id == store_id)
            .order_by(documents.c.uri, chunks.c.ordinal)
        )
        with self._engine.connect() as connection:
            return [(row[0], row[1], row[2], row[3], row[4]) for row in connection.execute(query)]


def _record(row: Mapping[Any, Any]) -> DocumentRecord:
    return DocumentRecord(**{**row, "groups": tuple(row["groups"])})


def _is(row: Mapping[str, str]) -> Any:
    return and_(generations.c.document_id == row["document_id"], generations.c.generation == row["generation"])


def _states(connection: Connection, keys: Sequence[GenerationKey]) -> dict[GenerationKey, str]:
    key = tuple_(generations.c.document_id, generations.c.generation)
    query = select(generations.c.document_id, generations.c.generation, generations.c.state).where(key.in_(keys))
    return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def _is_wanted(connection: Connection, item: Indexed, job_id: str | None) -> bool:
    file_id = file_id_of(item.record.uri)
    return file_id is None or claim(connection, item.record.store_id, file_id, job_id, item.usage_bytes)


def _abandon(connection: Connection, record: DocumentRecord) -> list[GenerationKey]:
    """Retire a generation that was written and is not wanted any more; one that is visible by now stays so."""
    visible = select(documents.c.generation).where(documents.c.id == record.id)
    if connection.scalars(visible).first() == record.generation:
        return []
    mine = _is({"document_id": record.id, "generation": record.generation})
    connection.execute(update(generations).where(mine).values(state="retired", text=None))
    return [(record.id, record.generation)]


def _switch_one(connection: Connection, item: Indexed) -> list[GenerationKey]:
    record = item.record
    mine = {"document_id": record.id, "generation": record.generation}
    older = and_(generations.c.document_id == record.id, generations.c.generation != record.generation)
    retired = connection.execute(select(generations.c.document_id, generations.c.generation).where(older)).all()
    connection.execute(update(generations).where(older).values(state="retired", text=None))
    connection.execute(update(generations).where(_is(mine)).values(state="active", text=item.text))
    connection.execute(delete(chunks).where(chunks.c.document_id == record.id))
    rows = [_chunk_row(record.store_id, chunk) for chunk in item.chunks]
    if rows:
        connection.execute(insert(chunks), rows)
    row = _row(record)
    connection.execute(delete(documents).where(documents.c.id == record.id))
    connection.execute(insert(documents).values(**row | {"digest": digest_of(row, item.text, rows)}))
    return [(row[0], row[1]) for row in retired]


def digest_of(document: Mapping[str, Any], text: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 over what a document's rows hold, times and what is derived from it aside.

    Args:
        document: its row.
        text: canonical.
        rows: those of its chunks, in the order of their ordinals.
    """
    digest = hashlib.sha256()
    names = ("id", "store_id", "uri", "title", "media_type", "attributes", "source_sha256", "recipe", "generation")
    # Groups only where there are some, so that documents without any keep the digest that older versions wrote.
    groups = {"groups": list(document["groups"])} if document["groups"] else {}
    for row in ({name: document[name] for name in names} | groups, *(dict(row) for row in rows)):
        digest.update(json.dumps(row, sort_keys=True, separators=(",", ":")).encode())
    digest.update(text.encode())
    return digest.hexdigest()


def _row(record: DocumentRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in DocumentRecord.__slots__} | {
        "attributes": dict(record.attributes), "groups": list(record.groups)
    }  # fmt: skip


def _chunk_row(store_id: str, chunk: Chunk) -> dict[str, Any]:
    return {
        "id": chunk.id, "store_id": store_id, "document_id": chunk.document_id, "generation": chunk.generation,
        "ordinal": chunk.ordinal, "char_start": chunk.char_start, "char_end": chunk.char_end, "prefix": chunk.prefix,
        "headings": list(chunk.headings), "locator": chunk.locator.as_dict(),
        "blocks": [[b.start, b.end, b.kind, list(b.headings), b.locator.as_dict()] for b in chunk.blocks],
        "text_key": text_key(chunk.embedded_text),
    }  # fmt: skip


def _slice() -> Any:
    length = chunks.c.char_end - chunks.c.char_start
    return func.substr(generations.c.text, chunks.c.char_start + 1, length).label("text")


def _chunks_of_active() -> Any:
    active = and_(documents.c.id == chunks.c.document_id, documents.c.generation == chunks.c.generation)
    text = and_(generations.c.document_id == chunks.c.document_id, generations.c.generation == chunks.c.generation)
    return chunks.join(documents, active).join(generations, text)


# Every search asks it, and making a statement takes as long as running it.
_VISIBLE = (
    select(chunks, documents.c.title, documents.c.uri, documents.c.attributes, _slice())
    .select_from(_chunks_of_active())
    .where(
        chunks.c.store_id.in_(bindparam("store_ids", expanding=True)),
        chunks.c.id.in_(bindparam("ids", expanding=True)),
    )
)


def _visible(connection: Connection, store_ids: Sequence[str], ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for start in range(0, len(ids), BATCH):
        asked = {"store_ids": list(store_ids), "ids": list(ids[start : start + BATCH])}
        found.update({row["id"]: row for row in connection.execute(_VISIBLE, asked).mappings()})
    return found


def _block(start: int, end: int, kind: BlockKind, headings: list[str], locator: dict[str, Any]) -> Block:
    return Block(start, end, kind, tuple(headings), Locator.from_dict(locator))


def _chunk(row: Mapping[Any, Any]) -> Chunk:
    return Chunk(
        id=row["id"], document_id=row["document_id"], generation=row["generation"], ordinal=row["ordinal"],
        text=row["text"], char_start=row["char_start"], char_end=row["char_end"], prefix=row["prefix"],
        headings=tuple(row["headings"]), locator=Locator.from_dict(row["locator"]),
        blocks=tuple(_block(*fields) for fields in row["blocks"]),
    )  # fmt: skip


def _hit(row: Mapping[str, Any], candidate: Candidate) -> SearchHit:
    scores = candidate.scores
    score = next(s for s in (scores.rerank, scores.fused, scores.dense, scores.sparse, 0.0) if s is not None)
    return SearchHit(
        store_id=row["store_id"], chunk=_chunk(row), title=row["title"], uri=row["uri"], score=score,
        scores=replace(scores), attributes=of_user(row["attributes"]), file_id=file_id_of(row["uri"]),
        date=date_of(row["attributes"]),
    )  # fmt: skip
