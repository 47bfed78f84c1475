"""Stores: named knowledge bases, each bound to one embedder's fingerprint."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, Select, delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from rag.documents import store_id
from rag.errors import FingerprintMismatchError, InvalidInputError, StoreNotFoundError
from rag.ledger.tables import (
    chunks,
    conversations,
    documents,
    feedback,
    generations,
    job_files,
    jobs,
    messages,
    refusals,
    roots,
    stores,
)
from rag.protocols import Fingerprint

logger = logging.getLogger(__name__)

MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class Store:
    """A knowledge base."""

    id: str
    name: str
    collection: str
    fingerprint: Fingerprint
    created_at: float


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """What a store holds."""

    name: str
    documents: int
    chunks: int
    skipped: int
    failed: int
    model: str


class Stores:
    """The stores of one ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def names(self) -> list[str]:
        """All names, sorted."""
        with self._engine.connect() as connection:
            return list(connection.scalars(select(stores.c.name).order_by(stores.c.name)))

    def identity(self, name: str) -> str:
        """The id of the store of this name, whatever else its row holds. Raises StoreNotFoundError."""
        with self._engine.connect() as connection:
            found: str | None = connection.scalars(select(stores.c.id).where(stores.c.name == name)).first()
        if found is None:
            raise StoreNotFoundError(name, self.names())
        return found

    def get(self, name: str) -> Store:
        """The store of this name. Raises StoreNotFoundError."""
        with self._engine.connect() as connection:
            found = _find(connection, name)
        if found is None:
            raise StoreNotFoundError(name, self.names())
        return found

    def get_or_create(self, name: str, collection: str, fingerprint: Fingerprint) -> Store:
        """The store of this name, made for this embedder if there is none.

        Raises:
            InvalidInputError: the name is not 1 to 64 letters, digits, `-`, `_` or `.`.
            FingerprintMismatchError: the store was embedded otherwise.
        """
        if not (0 < len(name) <= MAX_NAME and all(c.isalnum() or c in "-_." for c in name)):
            raise InvalidInputError(
                f"{name!r} cannot name a store: use 1 to {MAX_NAME} letters, digits, '-', '_' or '.'."
            )
        if name not in self.names():
            self._create(name, collection, fingerprint)
        found = self.get(name)
        require_fingerprint(found, fingerprint)
        return found

    def _create(self, name: str, collection: str, fingerprint: Fingerprint) -> None:
        row = {"id": store_id(name), "name": name, "collection": collection, "fingerprint": asdict(fingerprint)}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(stores).values(**row, created_at=time.time()))
        except IntegrityError:
            logger.debug("the store was made by another process at the same moment", extra={"store": name})

    def delete(self, store: Store) -> None:
        """Forget a store and all that it holds; its points must be gone from the vector store before."""
        with self._engine.begin() as connection:
            own = select(jobs.c.id).where(jobs.c.store_id == store.id)
            connection.execute(delete(job_files).where(job_files.c.job_id.in_(own)))
            talks = select(conversations.c.id).where(conversations.c.store_id == store.id)
            connection.execute(delete(feedback).where(feedback.c.store_id == store.id))
            connection.execute(delete(messages).where(messages.c.conversation_id.in_(talks)))
            for table in (conversations, jobs, roots, refusals, chunks, generations, documents):
                connection.execute(delete(table).where(table.c.store_id == store.id))
            connection.execute(delete(stores).where(stores.c.id == store.id))

    def summary(self, store: Store) -> StoreSummary:
        """Count what a store holds."""
        with self._engine.connect() as connection:
            return StoreSummary(
                name=store.name,
                documents=_count(connection, select(func.count()).where(documents.c.store_id == store.id)),
                chunks=_count(connection, select(func.count()).where(chunks.c.store_id == store.id)),
                skipped=_count(connection, _refused(store, "skipped")),
                failed=_count(connection, _refused(store, "failed")),
                model=store.fingerprint.model,
            )


def require_fingerprint(store: Store, configured: Fingerprint) -> None:
    """Raise FingerprintMismatchError unless the store was embedded by the configured embedder."""
    if store.fingerprint == configured:
        return
    made, now = asdict(store.fingerprint), asdict(configured)
    differing = ", ".join(f"{key} {made[key]!r}, now {now[key]!r}" for key in made if made[key] != now[key])
    raise FingerprintMismatchError(
        f"The store {store.name!r} was embedded by another embedder ({differing}). Set QUOTH_EMBEDDER__MODEL back to "
        f"{store.fingerprint.model}, or make the store anew: quoth stores delete {store.name}, then quoth ingest."
    )


def _find(connection: Connection, name: str) -> Store | None:
    row = connection.execute(select(stores).where(stores.c.name == name)).mappings().one_or_none()
    return Store(**{**row, "fingerprint": Fingerprint(**row["fingerprint"])}) if row else None


def _refused(store: Store, outcome: str) -> Select[int]:
    return select(func.count()).where(refusals.c.store_id == store.id, refusals.c.outcome == outcome)


def _count(connection: Connection, query: Select[int]) -> int:
    return int(connection.execute(query).scalar_one())
