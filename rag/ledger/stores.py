"""Stores: named knowledge bases, each bound to one embedder's fingerprint."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, Select, Text, cast, delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from rag.access import DEFAULT_TENANT, Caller
from rag.documents import store_id
from rag.errors import FingerprintMismatchError, InvalidInputError, StoreNotFoundError
from rag.ledger.served_tables import responses
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
PUBLIC_ID = re.compile(r"vs_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Store:
    """A knowledge base.

    Attributes:
        name: unique in a ledger; that of a store made over HTTP is its id there.
        title: what a store made over HTTP is called; stores of one tenant may share it.
        labels: OpenAI's `metadata`.
        expires_days: after its last use, `active_at`; None for never.
    """

    id: str
    name: str
    collection: str
    fingerprint: Fingerprint
    created_at: float
    tenant: str = DEFAULT_TENANT
    title: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    expires_days: int | None = None
    active_at: float = 0.0

    @property
    def public_id(self) -> str:
        """As the API names it: `vs_` and 32 hexadecimal digits."""
        return self.name if PUBLIC_ID.fullmatch(self.name) else f"vs_{self.id.replace('-', '')}"


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

    def visible(self, caller: Caller) -> list[Store]:
        """The stores that are there for a caller, by name."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(stores).order_by(stores.c.name)).mappings().all()
        return [_store(row) for row in rows if caller.sees_store(row["id"], row["tenant"])]

    def resolve(self, wanted: str, caller: Caller) -> Store:
        """The store that a caller means: by its name, its public id, or its title where only one has it.

        Raises:
            StoreNotFoundError: there is none, or none for this caller; the two look alike.
            InvalidInputError: several have the title.
        """
        seen = self.visible(caller)
        for store in seen:
            if wanted in (store.name, store.public_id):
                return store
        titled = [store for store in seen if store.title == wanted]
        if len(titled) > 1:
            raise InvalidInputError(f"{len(titled)} stores are called {wanted!r}: name one by its id, vs_...")
        if not titled:
            raise StoreNotFoundError(wanted, [store.name for store in seen])
        return titled[0]

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
            # Ids are of one length, and no part of anything else in the list.
            connection.execute(delete(responses).where(cast(responses.c.store_ids, Text).contains(store.id)))
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
    return _store(row) if row else None


def _store(row: Mapping[Any, Any]) -> Store:
    return Store(**{**row, "fingerprint": Fingerprint(**row["fingerprint"])})


def _refused(store: Store, outcome: str) -> Select[int]:
    return select(func.count()).where(refusals.c.store_id == store.id, refusals.c.outcome == outcome)


def _count(connection: Connection, query: Select[int]) -> int:
    return int(connection.execute(query).scalar_one())
