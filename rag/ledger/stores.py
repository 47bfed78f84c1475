"""Stores: named knowledge bases, each bound to one embedder's fingerprint."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Text,
    cast,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from rag.access import DEFAULT_TENANT, Caller
from rag.documents import store_id
from rag.errors import FingerprintMismatchError, InvalidInputError, NotFoundError, StoreNotFoundError
from rag.ledger.served_tables import file_batches, responses, store_files
from rag.ledger.tables import (
    calibrations,
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
DAY_SECONDS = 86_400
TOUCHED_SECONDS = 60  # a store's last use is noted at most this often

Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class Store:
    """A knowledge base.

    Attributes:
        name: unique in a ledger; that of a store made over HTTP is its id there.
        title: what a store made over HTTP is called; stores of one tenant may share it.
        description: what it is for, as whoever made it over HTTP put it.
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
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    expires_days: int | None = None
    active_at: float = 0.0

    @property
    def public_id(self) -> str:
        """As the API names it: `vs_` and 32 hexadecimal digits."""
        return self.name if PUBLIC_ID.fullmatch(self.name) else f"vs_{self.id.replace('-', '')}"

    @property
    def last_active_at(self) -> float:
        """When it was searched last, or made."""
        return max(self.created_at, self.active_at)

    @property
    def expires_at(self) -> float | None:
        """When it goes if it is not searched before; None for never."""
        return None if self.expires_days is None else self.last_active_at + self.expires_days * DAY_SECONDS

    def has_expired(self, now: float) -> bool:
        """Whether it is only there until somebody deletes it."""
        return self.expires_at is not None and self.expires_at <= now


class StoreChanges(TypedDict, total=False):
    """What may be changed of a store; what is not named stays."""

    title: str
    labels: Mapping[str, str]
    expires_days: int | None


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """What a store holds."""

    name: str
    public_id: str
    title: str
    tenant: str
    documents: int
    chunks: int
    skipped: int
    failed: int
    model: str


class Stores:
    """The stores of one ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._touched: dict[str, float] = {}

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
            rows = connection.execute(select(stores).where(_seen_by(caller)).order_by(stores.c.name)).mappings().all()
        return [_store(row) for row in rows]

    def find(self, wanted: str, caller: Caller) -> Store:
        """The store with this public id or name.

        Raises:
            NotFoundError: there is none, or none for this caller; the two look alike.
        """
        found = None
        if _is_name(wanted):
            with self._engine.connect() as connection:
                query = select(stores).where(_seen_by(caller), _is_called(wanted))
                found = connection.execute(query).mappings().first()
        if found is None:
            raise NotFoundError(f"There is no vector store {wanted!r}. GET /v1/vector_stores lists what there is.")
        return _store(found)

    def page(
        self, caller: Caller, *, limit: int, after: str | None = None, before: str | None = None, order: Order = "desc"
    ) -> tuple[list[Store], bool]:
        """A page of the stores that are there for a caller, by the time they were made, and whether there are more.

        Args:
            after, before: public ids that the page lies behind, and ahead of; with `before` alone it ends there.

        Raises:
            NotFoundError: `after` or `before` is not there.
        """
        place = tuple_(stores.c.created_at, stores.c.id)
        query = select(stores).where(_seen_by(caller))
        for cursor, is_behind in ((after, order == "asc"), (before, order == "desc")):
            if cursor is not None:
                edge = self.find(cursor, caller)
                at = tuple_(edge.created_at, edge.id)
                query = query.where(place > at if is_behind else place < at)
        from_the_end = before is not None and after is None
        ascending = (order == "asc") is not from_the_end
        columns = (stores.c.created_at, stores.c.id)
        ordered = query.order_by(*(columns if ascending else (column.desc() for column in columns)))
        with self._engine.connect() as connection:
            rows = connection.execute(ordered.limit(limit + 1)).mappings().all()
        found = [_store(row) for row in rows[:limit]]
        return found[::-1] if from_the_end else found, len(rows) > limit

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
        if not _is_name(name):
            raise InvalidInputError(
                f"{name!r} cannot name a store: use 1 to {MAX_NAME} letters, digits, '-', '_' or '.'."
            )
        if name not in self.names():
            self._create(name, collection, fingerprint)
        found = self.get(name)
        require_fingerprint(found, fingerprint)
        return found

    def create(
        self,
        *,
        title: str,
        labels: Mapping[str, str],
        expires_days: int | None,
        tenant: str,
        collection: str,
        fingerprint: Fingerprint,
        description: str = "",
    ) -> Store:
        """Make a store over HTTP: its name is drawn, what it is called need not be unique."""
        name, now = f"vs_{uuid.uuid4().hex}", time.time()
        row = {
            "id": store_id(name), "name": name, "collection": collection, "fingerprint": asdict(fingerprint),
            "created_at": now, "tenant": tenant, "title": title, "description": description, "labels": dict(labels),
            "expires_days": expires_days, "active_at": now,
        }  # fmt: skip
        with self._engine.begin() as connection:
            connection.execute(insert(stores).values(**row))
        return _store(row)

    def update(self, store: Store, changes: StoreChanges) -> Store:
        """Change what a store is called, its labels or when it goes.

        Raises:
            NotFoundError: it was deleted meanwhile.
        """
        if changes:
            with self._engine.begin() as connection:
                connection.execute(update(stores).where(stores.c.id == store.id).values(**changes))
        with self._engine.connect() as connection:
            found = _find(connection, store.name)
        if found is None:
            raise NotFoundError(f"The vector store {store.public_id!r} was deleted meanwhile.")
        return found

    def touch(self, store: Store, now: float) -> None:
        """Note that a store is being used; most of the time it was noted a moment ago, and nothing is written."""
        if now - max(store.last_active_at, self._touched.get(store.id, 0.0)) < TOUCHED_SECONDS:
            return
        self._touched[store.id] = now
        stale = (stores.c.id == store.id, stores.c.active_at < now)
        with self._engine.begin() as connection:
            connection.execute(update(stores).where(*stale).values(active_at=now))

    def expired(self, now: float) -> list[Store]:
        """The stores whose time is over, those first that were made first."""
        query = select(stores).where(stores.c.expires_days.is_not(None)).order_by(stores.c.created_at, stores.c.id)
        with self._engine.connect() as connection:
            found = [_store(row) for row in connection.execute(query).mappings()]
        return [store for store in found if store.has_expired(now)]

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
            for table in (
                calibrations, conversations, jobs, roots, refusals, store_files, file_batches, chunks, generations,
                documents,
            ):  # fmt: skip
                connection.execute(delete(table).where(table.c.store_id == store.id))
            connection.execute(delete(stores).where(stores.c.id == store.id))

    def summary(self, store: Store) -> StoreSummary:
        """Count what a store holds."""
        with self._engine.connect() as connection:
            return StoreSummary(
                name=store.name,
                public_id=store.public_id,
                title=store.title,
                tenant=store.tenant,
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


def _is_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and all(c.isalnum() or c in "-_." for c in name)


def _is_called(wanted: str) -> ColumnElement[bool]:
    """A store's name or public id; a name that looks like the public id of another comes with its own."""
    identity = str(uuid.UUID(wanted[3:])) if PUBLIC_ID.fullmatch(wanted) else ""
    return (stores.c.name == wanted) | (stores.c.id == identity)


def _seen_by(caller: Caller) -> ColumnElement[bool]:
    """The same as `Caller.sees_store`."""
    if caller.store_ids is None:
        return stores.c.tenant == caller.tenant
    return stores.c.id.in_(sorted(caller.store_ids))


def _find(connection: Connection, name: str) -> Store | None:
    row = connection.execute(select(stores).where(stores.c.name == name)).mappings().one_or_none()
    return _store(row) if row else None


def _store(row: Mapping[Any, Any]) -> Store:
    return Store(**{**row, "fingerprint": Fingerprint(**row["fingerprint"])})


def _refused(store: Store, outcome: str) -> Select[int]:
    return select(func.count()).where(refusals.c.store_id == store.id, refusals.c.outcome == outcome)


def _count(connection: Connection, query: Select[int]) -> int:
    return int(connection.execute(query).scalar_one())
