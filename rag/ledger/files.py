"""Uploaded files, as the ledger knows them; their bytes lie in the data directory."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, insert, or_, select
from sqlalchemy.exc import IntegrityError

from rag.access import Caller
from rag.errors import NotFoundError
from rag.ledger.connection import purge
from rag.ledger.idempotency import Claim, KeptResponse, finish_in
from rag.ledger.served_tables import files, store_files
from rag.ledger.tables import stores

Order = Literal["asc", "desc"]

FILE_ID: Final = re.compile(r"file-[0-9a-f]{24}")
# Databases limit how many values one statement may name.
BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An upload.

    Attributes:
        tenant, key_id: whose it is, and which key brought it.
        filename: what it is called, for people alone; it never becomes a path.
        expires_at: from then on it is not there any more; None for never.
    """

    id: str
    tenant: str
    key_id: str
    filename: str
    purpose: str
    size_bytes: int
    sha256: str
    created_at: float
    expires_at: float | None = None


def draw_file_id() -> str:
    """A new id."""
    return f"file-{secrets.token_hex(12)}"


class Files:
    """The uploads of one ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, file: StoredFile, answered: tuple[Claim, KeptResponse] | None = None) -> None:
        """Enter an upload whose bytes are safe on disk.

        Args:
            answered: the repeatable request that brought it, and what it is answered: kept in the same transaction.
        """
        values = {name: getattr(file, name) for name in StoredFile.__slots__}
        with self._engine.begin() as connection:
            connection.execute(insert(files).values(**values))
            if answered:
                finish_in(connection, *answered)

    def get(self, file_id: str, caller: Caller) -> StoredFile:
        """The file of this id. Raises NotFoundError when there is none, or none for this caller."""
        with self._engine.connect() as connection:
            return _get(connection, file_id, caller)

    def find(self, file_id: str) -> StoredFile | None:
        """The file of this id, whoever's it is: for ingest and housekeeping."""
        with self._engine.connect() as connection:
            row = connection.execute(select(files).where(files.c.id == file_id)).mappings().first()
        return StoredFile(**row) if row else None

    def known(self, file_ids: Sequence[str]) -> set[str]:
        """Those of the ids that stand in the ledger."""
        found: set[str] = set()
        with self._engine.connect() as connection:
            for start in range(0, len(file_ids), BATCH):
                query = select(files.c.id).where(files.c.id.in_(file_ids[start : start + BATCH]))
                found.update(connection.scalars(query))
        return found

    def page(
        self,
        caller: Caller,
        *,
        limit: int,
        after: str | None = None,
        order: Order = "desc",
        purpose: str | None = None,
    ) -> tuple[list[StoredFile], bool]:
        """A page of the caller's files by the time of their upload, and whether there are more.

        Args:
            after: the id of the last one of the page before. Raises NotFoundError when it is gone.
        """
        asked = [] if purpose is None else [files.c.purpose == purpose]
        found: list[StoredFile] = []
        with self._engine.connect() as connection:
            last = None if after is None else _get(connection, after, caller)
            while len(found) <= limit:
                query = select(files).where(*_may_see(caller), *asked, *_behind(last, order)).order_by(*_by_time(order))
                rows = connection.execute(query.limit(min(limit + 1, BATCH))).mappings().all()
                if not rows:
                    break
                batch = [StoredFile(**row) for row in rows]
                shared = _shared(connection, batch, caller)
                found += [file for file in batch if file.id in shared]
                last = batch[-1]
        return found[:limit], len(found) > limit

    def stores_of(self, file_id: str) -> list[str]:
        """The names of the stores that hold a file, or are to hold it."""
        query = select(stores.c.name).join(store_files, store_files.c.store_id == stores.c.id)
        with self._engine.connect() as connection:
            return list(connection.scalars(query.where(store_files.c.file_id == file_id)))

    def delete(self, file_id: str) -> bool:
        """Forget a file, also out of the ledger's own files; False where a store holds it, which is not forgotten."""
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(files).where(files.c.id == file_id))
        except IntegrityError:
            return False
        purge(self._engine)
        return True

    def expired(self, now: float) -> list[StoredFile]:
        """The files whose time is over."""
        query = select(files).where(files.c.expires_at <= now).order_by(files.c.expires_at)
        with self._engine.connect() as connection:
            return [StoredFile(**row) for row in connection.execute(query).mappings()]


def missing(file_id: str) -> NotFoundError:
    """What is said of a file that is not there, or not for whoever asks."""
    return NotFoundError(f"There is no file {file_id[:64]!r}; it may have been deleted. GET /v1/files lists yours.")


def _get(connection: Connection, file_id: str, caller: Caller) -> StoredFile:
    row = connection.execute(select(files).where(files.c.id == file_id, *_may_see(caller))).mappings().first()
    if row is None or not _shared(connection, [found := StoredFile(**row)], caller):
        raise missing(file_id)
    return found


def _may_see(caller: Caller) -> list[ColumnElement[bool]]:
    """What holds of every file that is there for a caller, its groups left aside."""
    lasting = or_(files.c.expires_at.is_(None), files.c.expires_at > time.time())
    conditions = [files.c.tenant == caller.tenant, lasting]
    if caller.store_ids is not None or caller.groups is not None:
        held = select(store_files.c.file_id).where(_seen_store(caller))
        conditions.append(or_(files.c.key_id == caller.key_id, files.c.id.in_(held)))
    return conditions


def _seen_store(caller: Caller) -> ColumnElement[bool]:
    if caller.store_ids is not None:
        return store_files.c.store_id.in_(sorted(caller.store_ids))
    return store_files.c.store_id.in_(select(stores.c.id).where(stores.c.tenant == caller.tenant))


def _shared(connection: Connection, found: Sequence[StoredFile], caller: Caller) -> set[str]:
    """Those of the files that the caller's groups let it see: its own, and those that are in a store for them."""
    if caller.groups is None:
        return {file.id for file in found}
    own = {file.id for file in found if file.key_id == caller.key_id}
    others = [file.id for file in found if file.id not in own]
    query = select(store_files.c.file_id, store_files.c.groups).where(
        store_files.c.file_id.in_(others), _seen_store(caller)
    )
    return own | {row.file_id for row in connection.execute(query) if _lets_in(row.groups, caller.groups)}


def _lets_in(groups: Collection[str], of_caller: frozenset[str]) -> bool:
    return not groups or not of_caller.isdisjoint(groups)


def _behind(last: StoredFile | None, order: Order) -> list[ColumnElement[bool]]:
    if last is None:
        return []
    moment, identity = files.c.created_at, files.c.id
    further = moment > last.created_at if order == "asc" else moment < last.created_at
    next_to_it = identity > last.id if order == "asc" else identity < last.id
    return [or_(further, and_(moment == last.created_at, next_to_it))]


def _by_time(order: Order) -> tuple[Any, Any]:
    columns = files.c.created_at, files.c.id
    return (columns[0].asc(), columns[1].asc()) if order == "asc" else (columns[0].desc(), columns[1].desc())
