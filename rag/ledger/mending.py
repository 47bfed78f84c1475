"""Set right what an inspection of the ledger found: drop rows, make documents look changed, restore a store's row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, exists, tuple_, update

from rag.ledger.inspection import BATCH, Stray, bound
from rag.ledger.leases import Lease
from rag.ledger.tables import chunks, documents, generations, job_files, jobs, leases, refusals, roots, stores
from rag.protocols import Fingerprint

_KEYS: dict[str, tuple[Any, ...]] = {
    "chunks": (chunks.c.id,),
    "generations": (generations.c.document_id, generations.c.generation),
    "refusals": (refusals.c.store_id, refusals.c.uri),
    "roots": (roots.c.store_id, roots.c.uri),
    "jobs": (jobs.c.id,),
    "job_files": (job_files.c.job_id,),
}


class Mending:
    """Writes to what one store has in the ledger. With a lease, every method raises LeaseLostError once it is lost."""

    def __init__(self, engine: Engine, store_id: str, lease: Lease | None) -> None:
        self._engine = engine
        self._store_id = store_id
        self._lease = lease

    def drop(self, strays: Sequence[Stray]) -> None:
        """Drop these rows; with a job, its files. Points are not touched."""
        with self._transaction() as connection:
            for stray in strays:
                columns = _KEYS[stray.table]
                which = and_(*(column == bound(value) for column, value in zip(columns, stray.key, strict=True)))
                if stray.table == "jobs":
                    connection.execute(delete(job_files).where(job_files.c.job_id == bound(stray.key[0])))
                connection.execute(delete(columns[0].table).where(which))

    def drop_documents(self, identities: Sequence[Any]) -> None:
        """Drop documents with all their rows, whatever store these name. Points are not touched."""
        with self._transaction() as connection:
            for start in range(0, len(identities), BATCH):
                some = [bound(identity) for identity in identities[start : start + BATCH]]
                for column in (chunks.c.document_id, generations.c.document_id, documents.c.id):
                    connection.execute(delete(column.table).where(column.in_(some)))

    def unsettle(self, identities: Sequence[str]) -> None:
        """Make documents look as if they had been read another way, so that the next ingest reads them."""
        with self._transaction() as connection:
            for start in range(0, len(identities), BATCH):
                some = documents.c.id.in_(identities[start : start + BATCH])
                connection.execute(update(documents).where(some).values(recipe=""))

    def reactivate(self) -> None:
        """Mark generations as active that documents name as theirs, so that they are not swept away."""
        key = (generations.c.document_id, generations.c.generation)
        named = exists().where(tuple_(documents.c.id, documents.c.generation) == tuple_(*key))
        mine = and_(generations.c.store_id == self._store_id, generations.c.state != "active", named)
        with self._transaction() as connection:
            connection.execute(update(generations).where(mine).values(state="active"))

    def restore_store(self, collection: str, fingerprint: Fingerprint) -> None:
        """Write the store's own row anew."""
        values = {"collection": collection, "fingerprint": asdict(fingerprint)}
        with self._transaction() as connection:
            connection.execute(update(stores).where(stores.c.id == self._store_id).values(**values))

    def drop_lease(self) -> None:
        """Drop the store's lease, whoever holds it; it is made anew when it is next asked for."""
        with self._engine.begin() as connection:
            connection.execute(delete(leases).where(leases.c.name == f"store:{self._store_id}"))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            if self._lease:
                self._lease.require(connection)
            yield connection
