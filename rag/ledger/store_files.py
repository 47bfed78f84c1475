"""The uploads that a store holds or is to hold, and what became of each; and the batches that they came in.

A row and the job that is to read it come into being in one transaction. Whoever finishes a file claims it in the
transaction that makes it visible: a file that was detached, cancelled or attached otherwise meanwhile is not found any
more under that job, and what was read of it is dropped.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from rag.attributes import UPLOADS
from rag.documents import AttributeValue, document_id
from rag.errors import NotFoundError
from rag.ledger.generations import retire
from rag.ledger.jobs import new_job
from rag.ledger.leases import Lease
from rag.ledger.refusals import drop
from rag.ledger.served_tables import file_batches, files, store_files
from rag.ledger.store_file_records import STATUSES, AttachedFile, ErrorCode, FileBatch, Order, Status, StoreFile, Wanted
from rag.ledger.tables import jobs, stores

BATCH: Final = 500
MOST_JOINED: Final = 1000  # files that come one by one and are read by one job


class StoreFiles:
    """The attached uploads of one ledger."""

    def __init__(self, engine: Engine, lease: Lease | None = None) -> None:
        """With a lease, what a job settles fails with LeaseLostError once somebody else has it."""
        self._engine = engine
        self._lease = lease

    def under_lease(self, lease: Lease) -> StoreFiles:
        """The same, written to under a lease."""
        return StoreFiles(self._engine, lease)

    def get(self, store_id: str, file_id: str) -> StoreFile:
        """One of a store's files. Raises NotFoundError."""
        query = select(store_files).where(store_files.c.store_id == store_id, store_files.c.file_id == file_id)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise _missing(file_id)
        return _store_file(row)

    def page(
        self,
        store_id: str,
        *,
        limit: int,
        after: str | None = None,
        before: str | None = None,
        order: Order = "desc",
        status: Status | None = None,
        batch_id: str | None = None,
    ) -> tuple[list[StoreFile], bool]:
        """A page of a store's files by the time of their attaching, and whether there are more in its direction.

        Args:
            after: the id of the file that the page begins behind. Raises NotFoundError when it is not in the store.
            before: likewise, that it ends before: the nearest ones to it.
        """
        where = [store_files.c.store_id == store_id]
        where += [store_files.c.status == status] if status else []
        where += [store_files.c.batch_id == batch_id] if batch_id else []
        for edge, is_ascending in ((after, order == "asc"), (before, order == "desc")):
            if edge is not None:
                where.append(_beyond(self.get(store_id, edge), is_ascending=is_ascending))
        is_reversed = before is not None and after is None
        is_ascending = (order == "asc") != is_reversed
        columns = (store_files.c.created_at, store_files.c.file_id)
        places = [column.asc() if is_ascending else column.desc() for column in columns]
        with self._engine.connect() as connection:
            rows = connection.execute(select(store_files).where(*where).order_by(*places).limit(limit + 1)).mappings()
            found = [_store_file(row) for row in rows]
        page = found[:limit]
        return (page[::-1] if is_reversed else page), len(found) > limit

    def counts(self, store_id: str | None = None, batch_id: str | None = None) -> dict[Status, int]:
        """How many files there are of each status, in a store, a batch, or both."""
        which = [store_files.c.store_id == store_id] if store_id is not None else []
        which += [store_files.c.batch_id == batch_id] if batch_id is not None else []
        query = select(store_files.c.status, func.count()).where(*which).group_by(store_files.c.status)
        with self._engine.connect() as connection:
            found = {row[0]: int(row[1]) for row in connection.execute(query)}
        return {status: found.get(status, 0) for status in STATUSES}

    def usage(self, store_id: str) -> int:
        """Bytes of text and vectors of a store's uploads."""
        query = select(func.coalesce(func.sum(store_files.c.usage_bytes), 0)).where(store_files.c.store_id == store_id)
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def get_batch(self, store_id: str, batch_id: str) -> FileBatch:
        """One of a store's batches. Raises NotFoundError."""
        query = select(file_batches).where(file_batches.c.id == batch_id, file_batches.c.store_id == store_id)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise NotFoundError(f"There is no file batch {batch_id[:64]!r} in this vector store.")
        return FileBatch(**row)

    def attached(self, store_id: str, file_ids: Sequence[str]) -> dict[str, AttachedFile]:
        """Those of the uploads that the store holds or is to hold, by their ids."""
        found: dict[str, AttachedFile] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(file_ids), BATCH):
                some = store_files.c.file_id.in_(file_ids[start : start + BATCH])
                found |= {each.row.file_id: each for each in _attached(connection, store_id, some)}
        return found

    def all(self, store_id: str) -> Iterator[AttachedFile]:
        """Every upload of a store in the order of ids, read a page at a time."""
        yield from self._pages(store_id)

    def todo(self, store_id: str, job_id: str) -> Iterator[AttachedFile]:
        """Those that a job has to read, likewise."""
        yield from self._pages(store_id, store_files.c.job_id == job_id, store_files.c.status == "in_progress")

    def has_todo(self, store_id: str, job_id: str) -> bool:
        """Whether a job has anything left to read."""
        return next(self.todo(store_id, job_id), None) is not None

    def _pages(self, store_id: str, *where: Any) -> Iterator[AttachedFile]:
        last = ""
        while True:
            with self._engine.connect() as connection:
                page = _attached(connection, store_id, *where, store_files.c.file_id > last, limit=BATCH)
            yield from page
            if len(page) < BATCH:
                return
            last = page[-1].row.file_id

    def attach(
        self, store_id: str, wanted: Sequence[Wanted], *, with_batch: bool = False
    ) -> tuple[list[StoreFile], FileBatch | None]:
        """Have a store hold these uploads, each once; those that it holds like this already are left as they are.

        Returns:
            Their rows in their order, and the batch. A job for what is to be read stands in the ledger as well.

        Raises:
            NotFoundError: the store, or one of the uploads, has been deleted.
        """
        try:
            with self._engine.begin() as connection:
                _lock(connection, store_id)
                batch = _new_batch(connection, store_id) if with_batch else None
                ids = [each.file_id for each in wanted]
                known = {row.file_id: row for row in _rows(connection, store_id, ids)}
                fresh = [each for each in wanted if not _is_settled(each, known.get(each.file_id))]
                job_id = _job_for(connection, store_id, [each.file_id for each in fresh], alone=with_batch)
                for each in fresh:
                    _write(connection, store_id, each, batch, job_id, is_new=each.file_id not in known)
                if batch:
                    mine = and_(store_files.c.store_id == store_id, store_files.c.file_id.in_(ids))
                    connection.execute(update(store_files).where(mine).values(batch_id=batch.id))
                rows = {row.file_id: row for row in _rows(connection, store_id, ids)}
        except IntegrityError:
            raise NotFoundError("One of the files has been deleted meanwhile; GET /v1/files lists yours.") from None
        return [rows[identity] for identity in ids], batch

    def add_batch(self, store_id: str) -> FileBatch:
        """A new batch without files; `attach` makes one together with them."""
        with self._engine.begin() as connection:
            return _new_batch(connection, store_id)

    def change(self, store_id: str, file_id: str, attributes: Mapping[str, AttributeValue]) -> StoreFile:
        """Give a file other attributes; what could not be read stays unread. Raises NotFoundError."""
        row = self.get(store_id, file_id)
        if row.status in ("failed", "cancelled"):
            mine = and_(store_files.c.store_id == store_id, store_files.c.file_id == file_id)
            with self._engine.begin() as connection:
                connection.execute(update(store_files).where(mine).values(attributes=dict(attributes)))
            return self.get(store_id, file_id)
        return self.attach(store_id, [Wanted(file_id, attributes, row.groups, row.chunking)])[0][0]

    def again(self, store_id: str, file_ids: Sequence[str]) -> str | None:
        """Have uploads that the store holds read once more; returns the job that does it, if there is anything to."""
        with self._engine.begin() as connection:
            _lock(connection, store_id)
            rows = _rows(connection, store_id, file_ids)
            known = [row.file_id for row in rows if row.status in ("completed", "in_progress")]
            job_id = _job_for(connection, store_id, known, alone=True)
            for start in range(0, len(known), BATCH):
                some = and_(store_files.c.store_id == store_id, store_files.c.file_id.in_(known[start : start + BATCH]))
                connection.execute(update(store_files).where(some).values(status="in_progress", job_id=job_id))
        return job_id

    def detach(self, store_id: str, file_ids: Sequence[str], *, submit: bool = True) -> int:
        """Take uploads out of a store, out of sight at once; a job deletes their points. Returns how many there were.

        What was refused of them is forgotten too. The uploads stay.

        Args:
            submit: whether a job is needed; not for the lease's holder, who sweeps.
        """
        with self._engine.begin() as connection:
            _lock(connection, store_id)
            found: list[AttachedFile] = []
            for start in range(0, len(file_ids), BATCH):
                some = store_files.c.file_id.in_(file_ids[start : start + BATCH])
                found += _attached(connection, store_id, some)
                connection.execute(delete(store_files).where(store_files.c.store_id == store_id, some))
            _withdraw(connection, store_id, found, submit=submit)
        return len(found)

    def cancel_batch(self, store_id: str, batch_id: str) -> FileBatch:
        """Read no more of a batch; what is completed stays. Raises NotFoundError."""
        batch = self.get_batch(store_id, batch_id)
        with self._engine.begin() as connection:
            _lock(connection, store_id)
            mine = and_(file_batches.c.id == batch.id, file_batches.c.cancelled_at.is_(None))
            connection.execute(update(file_batches).where(mine).values(cancelled_at=time.time()))
            open_ones = (store_files.c.batch_id == batch.id, store_files.c.status == "in_progress")
            found = _attached(connection, store_id, *open_ones)
            connection.execute(
                update(store_files).where(store_files.c.store_id == store_id, *open_ones).values(status="cancelled")
            )
            _withdraw(connection, store_id, found)
        return self.get_batch(store_id, batch_id)

    def complete(self, store_id: str, file_ids: Sequence[str], job_id: str) -> None:
        """Note that what the store holds of these uploads is what their job was to read."""
        with self._transaction() as connection:
            for start in range(0, len(file_ids), BATCH):
                some = store_files.c.file_id.in_(file_ids[start : start + BATCH])
                connection.execute(_of_job(store_id, job_id, some).values(status="completed", error_message=""))

    def fail(self, store_id: str, file_id: str, job_id: str, code: ErrorCode, message: str) -> None:
        """Note why a file is not in the store."""
        values = {"status": "failed", "error_code": code, "error_message": message, "usage_bytes": 0}
        with self._transaction() as connection:
            connection.execute(_of_job(store_id, job_id, store_files.c.file_id == file_id).values(**values))

    def fail_all(self, store_id: str, job_id: str, message: str) -> None:
        """Give up what a job has not read."""
        values = {"status": "failed", "error_code": "server_error", "error_message": message, "usage_bytes": 0}
        with self._engine.begin() as connection:
            connection.execute(_of_job(store_id, job_id).values(**values))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            if self._lease:
                self._lease.require(connection)
            yield connection


def claim(connection: Connection, store_id: str, file_id: str, job_id: str | None, usage_bytes: int) -> bool:
    """Complete a file in the transaction that makes it visible; False when the job is no longer to read it."""
    mine = _of_job(store_id, job_id or "", store_files.c.file_id == file_id)
    values = {"status": "completed", "error_code": None, "error_message": "", "usage_bytes": usage_bytes}
    return connection.execute(mine.values(**values)).rowcount == 1


def _of_job(store_id: str, job_id: str, *which: Any) -> Any:
    mine = (store_files.c.store_id == store_id, store_files.c.job_id == job_id, store_files.c.status == "in_progress")
    return update(store_files).where(*mine, *which)


def _lock(connection: Connection, store_id: str) -> None:
    """Let nobody else change the store's files until the transaction ends; to do so is to use the store."""
    mine = stores.c.id == store_id
    if connection.execute(update(stores).where(mine).values(active_at=time.time())).rowcount != 1:
        raise NotFoundError("The vector store has been deleted meanwhile.")


def _is_settled(wanted: Wanted, row: StoreFile | None) -> bool:
    return row is not None and row.status in ("in_progress", "completed") and wanted.is_as(row)


def _write(
    connection: Connection, store_id: str, wanted: Wanted, batch: FileBatch | None, job_id: str | None, *, is_new: bool
) -> None:
    values = {
        "status": "in_progress", "error_code": None, "error_message": "", "attributes": dict(wanted.attributes),
        "groups": list(wanted.groups), "chunking": dict(wanted.chunking), "job_id": job_id,
    }  # fmt: skip
    key = {"store_id": store_id, "file_id": wanted.file_id}
    if is_new:
        named = {"batch_id": batch.id if batch else None, "created_at": time.time(), "usage_bytes": 0}
        connection.execute(insert(store_files).values(**key, **values, **named))
        return
    mine = and_(store_files.c.store_id == store_id, store_files.c.file_id == wanted.file_id)
    connection.execute(update(store_files).where(mine).values(**values))


def _job_for(connection: Connection, store_id: str, file_ids: Sequence[str], *, alone: bool) -> str | None:
    """A job that reads these files: one of their own, or one that waits and takes them too."""
    if not file_ids:
        return None
    paths = [f"{UPLOADS}{file_id}" for file_id in file_ids]
    for job_id, known in _waiting(connection, store_id) if not alone else ():
        if all(path.startswith(UPLOADS) for path in known) and len(known) + len(paths) <= MOST_JOINED:
            # Once it runs it has seen what it is to read.
            mine = and_(jobs.c.id == job_id, jobs.c.state == "waiting")
            both = list(dict.fromkeys([*known, *paths]))
            if connection.execute(update(jobs).where(mine).values(paths=both)).rowcount == 1:
                return job_id
    return new_job(connection, store_id, paths, retry=True)


def _waiting(connection: Connection, store_id: str) -> list[tuple[str, list[str]]]:
    query = select(jobs.c.id, jobs.c.paths).where(jobs.c.store_id == store_id, jobs.c.state == "waiting")
    return [(row[0], row[1]) for row in connection.execute(query)]


def _withdraw(connection: Connection, store_id: str, found: Sequence[AttachedFile], *, submit: bool = True) -> None:
    """Take the documents of uploads out of sight, and have a job delete their points: every job begins with that."""
    drop(connection, store_id, [each.uri for each in found])
    if retire(connection, store_id, [document_id(store_id, each.uri) for each in found]) and submit:
        _job_for(connection, store_id, [each.row.file_id for each in found], alone=False)


def _new_batch(connection: Connection, store_id: str) -> FileBatch:
    batch = FileBatch(f"vsfb_{secrets.token_hex(16)}", store_id, time.time())
    values = {name: getattr(batch, name) for name in FileBatch.__slots__}
    connection.execute(insert(file_batches).values(**values))
    return batch


def _rows(connection: Connection, store_id: str, file_ids: Sequence[str]) -> list[StoreFile]:
    found: list[StoreFile] = []
    for start in range(0, len(file_ids), BATCH):
        some = store_files.c.file_id.in_(file_ids[start : start + BATCH])
        rows = connection.execute(select(store_files).where(store_files.c.store_id == store_id, some)).mappings()
        found += [_store_file(row) for row in rows]
    return found


def _attached(connection: Connection, store_id: str, *where: Any, limit: int | None = None) -> list[AttachedFile]:
    query = (
        select(store_files, files.c.filename, files.c.sha256)
        .join(files, files.c.id == store_files.c.file_id)
        .where(store_files.c.store_id == store_id, *where)
        .order_by(store_files.c.file_id)
        .limit(limit)
    )
    return [
        AttachedFile(_store_file(row), row["filename"], row["sha256"]) for row in connection.execute(query).mappings()
    ]


def _store_file(row: Mapping[Any, Any]) -> StoreFile:
    return StoreFile(**{name: row[name] for name in StoreFile.__slots__} | {"groups": tuple(row["groups"])})


def _beyond(edge: StoreFile, *, is_ascending: bool) -> Any:
    moment, identity = store_files.c.created_at, store_files.c.file_id
    further = moment > edge.created_at if is_ascending else moment < edge.created_at
    beside = identity > edge.file_id if is_ascending else identity < edge.file_id
    return or_(further, and_(moment == edge.created_at, beside))


def _missing(file_id: str) -> NotFoundError:
    return NotFoundError(f"There is no file {file_id[:64]!r} in this vector store.")
