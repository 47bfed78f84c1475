"""The ledger's rows as they stand, whatever has been at them: nothing is decoded here that could fail to be.

Rows come as mappings with JSON as text, read a page at a time; text that is no UTF-8 comes with surrogates.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    Engine,
    LargeBinary,
    Table,
    Text,
    and_,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.types import NullType

from rag.attributes import UPLOADS
from rag.ledger.leases import LEASE_SECONDS
from rag.ledger.tables import chunks, documents, generations, job_files, jobs, leases, refusals, roots, stores

BATCH = 500
LONGEST_LEASE = 20 * LEASE_SECONDS  # clocks of two hosts may differ
JOB_STATES = ("waiting", "running", "done", "failed")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stray:
    """A row that belongs to nothing, or that nothing can read.

    Attributes:
        table: its table's name.
        key: of the row, as Mending.drop takes it.
        uri: of the file that it is about, if it names one.
        why: what is wrong with it, as the end of a sentence.
        state: of a generation that is not active; empty for all else.
    """

    table: str
    key: tuple[Any, ...]
    uri: str
    why: str
    state: str = ""


class Inspection:
    """Reads what one store has in the ledger, and what belongs to no store at all."""

    def __init__(self, engine: Engine, store_id: str) -> None:
        self._engine = engine
        self._store_id = store_id

    def documents(self) -> Iterator[Row]:
        """Every document's row, in the order of ids; also those of stores that are not there."""
        mine = _mine(documents, self._store_id)
        yield from self._all(select(*_plain(documents)).where(mine), (documents.c.id,), ("id",))

    def generation(self, document: Any, generation: Any) -> Row | None:
        """The row of a document's generation."""
        which = and_(generations.c.document_id == bound(document), generations.c.generation == bound(generation))
        with self._reading() as connection:
            row = connection.execute(select(generations).where(which)).mappings().first()
            return dict(row) if row else None

    def chunks_of(self, document: Any, generation: Any) -> list[dict[str, Any]]:
        """The rows of a document's chunks in the order of their ordinals, JSON as text."""
        which = and_(chunks.c.document_id == bound(document), chunks.c.generation == bound(generation))
        query = select(*_plain(chunks)).where(which).order_by(chunks.c.ordinal, chunks.c.id)
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def visible(self) -> Iterator[tuple[str, str, str, str]]:
        """(chunk id, document id, generation, uri) of the chunks that queries see, in the order of chunk ids."""
        columns = (chunks.c.id, chunks.c.document_id, chunks.c.generation, documents.c.uri)
        query = select(*columns).select_from(chunks.join(documents, _active())).where(
            chunks.c.store_id == self._store_id, documents.c.store_id == self._store_id
        )  # fmt: skip
        for row in self._all(query, (chunks.c.id,), ("id",)):
            yield row["id"], row["document_id"], row["generation"], row["uri"]

    def live(self, document: str) -> tuple[str, str, int] | None:
        """(generation, uri, number of chunk rows) of a document."""
        counted = select(func.count()).where(chunks.c.document_id == document).scalar_subquery()
        query = select(documents.c.generation, documents.c.uri, counted).where(
            documents.c.id == document, documents.c.store_id == self._store_id
        )
        with self._reading() as connection:
            row = connection.execute(query).first()
        return (row[0], row[1], row[2]) if row else None

    def by_uri(self) -> Iterator[Row]:
        """The documents of this store in the order of URIs, byte by byte."""
        uri = documents.c.uri if self._engine.dialect.name == "sqlite" else documents.c.uri.collate("C")
        query = select(*_plain(documents)).where(documents.c.store_id == self._store_id)
        yield from self._all(query, (uri,), ("uri",))

    def known(self, uris: Sequence[str]) -> set[str]:
        """Which of these URIs are a document or a refused file."""
        found: set[str] = set()
        with self._reading() as connection:
            for start in range(0, len(uris), BATCH):
                for table in (documents, refusals):
                    some = table.c.uri.in_(uris[start : start + BATCH])
                    found.update(
                        connection.scalars(select(table.c.uri).where(table.c.store_id == self._store_id, some))
                    )
        return found

    def indexed(self, uris: Sequence[str]) -> set[str]:
        """Which of these URIs are a document."""
        found: set[str] = set()
        with self._reading() as connection:
            for start in range(0, len(uris), BATCH):
                some = and_(documents.c.store_id == self._store_id, documents.c.uri.in_(uris[start : start + BATCH]))
                found.update(connection.scalars(select(documents.c.uri).where(some)))
        return found

    def ending(self, end: str, limit: int) -> list[str]:
        """URIs of documents and refused files that end like this, sorted; at most `limit` of each are looked at."""
        found: set[str] = set()
        with self._reading() as connection:
            for table in (documents, refusals):
                like = and_(table.c.store_id == self._store_id, table.c.uri.endswith(end, autoescape=True))
                query = select(table.c.uri).where(like).order_by(table.c.uri).limit(limit)
                found.update(uri for uri in connection.scalars(query) if uri.endswith(end))
        return sorted(found)

    def waiting(self, uri: str) -> str | None:
        """The id of a job that has found this file and not read it yet."""
        todo = and_(job_files.c.uri == uri, job_files.c.outcome == "todo", jobs.c.store_id == self._store_id)
        query = select(jobs.c.id).join(job_files, job_files.c.job_id == jobs.c.id).where(todo, jobs.c.state != "done")
        with self._reading() as connection:
            found: str | None = connection.scalars(query.limit(1)).first()
            return found

    def roots(self) -> list[str]:
        """What is in the table of roots, where it is text."""
        with self._reading() as connection:
            found = connection.scalars(select(roots.c.uri).where(roots.c.store_id == self._store_id))
            return sorted(uri for uri in found if isinstance(uri, str))

    def jobs(self) -> list[Row]:
        """The rows of the store's jobs, latest first, `paths` and `counts` as text."""
        query = select(*_plain(jobs)).where(jobs.c.store_id == self._store_id).order_by(jobs.c.created_at.desc())
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def copies(self) -> Iterator[list[str]]:
        """URIs of documents with the same bytes, in groups."""
        hashes = documents.c.source_sha256
        mine = documents.c.store_id == self._store_id
        query = select(hashes).where(mine).group_by(hashes).having(func.count() > 1)
        for row in self._all(query, (hashes,), ("source_sha256",)):
            with self._reading() as connection:
                same = select(documents.c.uri).where(mine, hashes == bound(row["source_sha256"]))
                yield list(connection.scalars(same.order_by(documents.c.uri)))

    def sketches(self) -> Iterator[tuple[str, bytes]]:
        """(uri, sketch) of one document of each content, as far as there is a sketch."""
        mine = and_(documents.c.store_id == self._store_id, documents.c.sketch.is_not(None))
        first = select(func.min(documents.c.id).label("id")).where(mine).group_by(documents.c.source_sha256).subquery()
        query = select(documents.c.id, documents.c.uri, _raw(documents.c.sketch)).join(
            first, first.c.id == documents.c.id
        )
        for row in self._all(query, (documents.c.id,), ("id",)):
            if isinstance(row["sketch"], bytes | memoryview):
                yield row["uri"], bytes(row["sketch"])

    def refused(self) -> Counter[tuple[str, str]]:
        """How many files are refused, by outcome and reason."""
        which = (refusals.c.outcome, refusals.c.reason)
        query = select(*which, func.count()).where(refusals.c.store_id == self._store_id).group_by(*which)
        with self._reading() as connection:
            return Counter({(row[0], row[1]): row[2] for row in connection.execute(query)})

    def store_row(self) -> Row | None:
        """The store's own row, its fingerprint as text."""
        with self._reading() as connection:
            query = select(*_plain(stores)).where(stores.c.id == self._store_id)
            row = connection.execute(query).mappings().first()
            return dict(row) if row else None

    def strays(self) -> Iterator[Stray]:
        """Rows, other than documents, that belong to nothing."""
        yield from self._stray_chunks()
        yield from self._stray_generations()
        yield from self._stray_refusals()
        for row in self._all(select(roots).where(_mine(roots, self._store_id)), (roots.c.uri,), ("uri",)):
            if row["store_id"] != self._store_id or not str(row["uri"]).startswith("file:///"):
                yield Stray("roots", (row["store_id"], row["uri"]), str(row["uri"]), "names no folder of this store")
        for job in self._all(select(*_plain(jobs)).where(_mine(jobs, self._store_id)), (jobs.c.id,), ("id",)):
            why = _why_unreadable(job, self._store_id)
            if why:
                yield Stray("jobs", (job["id"],), "", why)
        ownerless = select(job_files.c.job_id).where(job_files.c.job_id.not_in(select(jobs.c.id))).distinct()
        with self._reading() as connection:
            lost = list(connection.scalars(ownerless))
        for job_id in lost:
            yield Stray("job_files", (job_id,), "", "holds the files of a job that is not there")

    def has_stuck_lease(self) -> bool:
        """Whether the store's lease ends later than any lease can, or at no time at all."""
        query = select(type_coerce(leases.c.expires_at, NullType()), leases.c.fence).where(
            leases.c.name == f"store:{self._store_id}"
        )
        with self._reading() as connection:
            row = connection.execute(query).first()
        return row is not None and not (
            isinstance(row[0], int | float) and row[0] < time.time() + LONGEST_LEASE and isinstance(row[1], int)
        )

    def _stray_chunks(self) -> Iterator[Stray]:
        joined = chunks.outerjoin(documents, documents.c.id == chunks.c.document_id)
        lost = or_(
            documents.c.id.is_(None),
            documents.c.generation != chunks.c.generation,
            documents.c.store_id != chunks.c.store_id,
        )
        columns = (chunks.c.id, chunks.c.document_id, documents.c.uri)
        near = or_(_mine(chunks, self._store_id), documents.c.store_id == self._store_id)
        for row in self._all(select(*columns).select_from(joined).where(lost, near), (chunks.c.id,), ("id",)):
            why = "belongs to no document" if row["uri"] is None else "is of no generation that queries see"
            yield Stray("chunks", (row["id"],), str(row["uri"] or ""), why)

    def _stray_generations(self) -> Iterator[Stray]:
        key = (generations.c.document_id, generations.c.generation)
        joined = generations.outerjoin(documents, documents.c.id == generations.c.document_id)
        lost = or_(
            documents.c.id.is_(None),
            documents.c.store_id != generations.c.store_id,
            documents.c.generation != generations.c.generation,
        )
        near = or_(_mine(generations, self._store_id), documents.c.store_id == self._store_id)
        query = select(*key, generations.c.state, documents.c.uri).select_from(joined).where(lost, near)
        for row in self._all(query, key, ("document_id", "generation")):
            why = "belongs to no document" if row["uri"] is None else "is not the one that queries see"
            state = "" if row["state"] == "active" else str(row["state"])
            if state:
                why = f"was left {state!r} by an ingest that did not end"
            yield Stray("generations", (row["document_id"], row["generation"]), str(row["uri"] or ""), why, state)

    def _stray_refusals(self) -> Iterator[Stray]:
        query = select(refusals).where(_mine(refusals, self._store_id))
        for row in self._all(query, (refusals.c.store_id, refusals.c.uri), ("store_id", "uri")):
            numbers = all(isinstance(row[name], int) for name in ("size_bytes", "mtime_ns", "attempts"))
            texts = all(isinstance(row[name], str) for name in ("uri", "reason", "message", "recipe"))
            if not (numbers and texts and _is_sound(row) and row["outcome"] in ("skipped", "failed")):
                yield Stray("refusals", (row["store_id"], row["uri"]), str(row["uri"]), "cannot be understood")
            elif row["store_id"] != self._store_id:
                yield Stray("refusals", (row["store_id"], row["uri"]), row["uri"], "belongs to no store")

    def _all(self, query: Any, key: Sequence[Any], names: Sequence[str]) -> Iterator[Row]:
        """The rows of a query in the order of `key`, whose values they carry under `names`."""
        behind, ordered = query, query.order_by(*key).limit(BATCH)
        while True:
            with self._reading() as connection:
                rows = [dict(row) for row in connection.execute(ordered).mappings()]
            yield from rows
            if len(rows) < BATCH:
                return
            last = tuple(bound(rows[-1][name]) for name in names)
            further = key[0] > last[0] if len(key) == 1 else tuple_(*key) > tuple_(*last)
            ordered = behind.where(further).order_by(*key).limit(BATCH)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            if connection.dialect.name != "sqlite":
                yield connection
                return
            driver.text_factory = _lenient
            try:
                yield connection
            finally:
                driver.text_factory = str


def bound(value: Any) -> Any:
    """A value as a statement can hold it: text with surrogates by the bytes that it was read from."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return cast(literal(value.encode("utf-8", "surrogateescape"), LargeBinary), Text)
    return value


def _lenient(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _plain(table: Table) -> list[Any]:
    return [_raw(column) for column in table.c]


def _raw(column: Any) -> Any:
    """A column as it is stored: not decoded, so that it cannot fail to be."""
    plain = cast(column, Text) if isinstance(column.type, JSON) else type_coerce(column, NullType())
    return plain.label(column.name)


def _mine(table: Table, store_id: str) -> Any:
    """Rows of this store, and of none that is there."""
    return or_(table.c.store_id == store_id, table.c.store_id.not_in(select(stores.c.id)))


def _active() -> Any:
    return and_(documents.c.id == chunks.c.document_id, documents.c.generation == chunks.c.generation)


def _why_unreadable(job: Row, store_id: str) -> str:
    if job["store_id"] != store_id:
        return "belongs to no store"
    try:
        paths, counts = json.loads(job["paths"]), json.loads(job["counts"])
    except (TypeError, ValueError):
        return "holds what is no JSON"
    named = isinstance(paths, list) and all(
        isinstance(path, str) and path.startswith(("file:///", UPLOADS)) for path in paths
    )
    times = all(isinstance(job[name], int | float | None) for name in ("created_at", "started_at", "finished_at"))
    numbers = all(isinstance(job[name], int) for name in ("retry", "fence"))
    right = named and isinstance(counts, dict) and times and numbers and isinstance(job["error"], str)
    return "" if right and _is_sound(job) and job["state"] in JOB_STATES else "cannot be understood"


def _is_sound(row: Row) -> bool:
    """Whether all of a row's text is UTF-8: no other reader gets over what is not."""
    return all(value is bound(value) for value in row.values())
