"""Jobs: what an ingest was asked to do, how far it is, and what became of every file that it found."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, Engine, and_, delete, func, insert, or_, select, update

from rag.errors import NotFoundError
from rag.ledger.leases import Lease
from rag.ledger.tables import documents, job_files, jobs, leases, refusals, roots, stores
from rag.ledger.uris import below, is_below

BATCH = 500
KEPT_JOBS = 50  # of each store

JobState = Literal["waiting", "running", "stopped", "done", "failed"]
Outcome = Literal["todo", "indexed", "unchanged", "skipped", "failed"]

TODO: Outcome = "todo"
WITHDRAWN: Final = "withdrawn"  # of an upload that was detached, cancelled or attached anew while a job was at it


@dataclass(frozen=True, slots=True)
class Job:
    """One ingest.

    Attributes:
        state: `waiting` for a worker; `running`; `stopped` in the middle, by a kill for example, and to be taken up
            again; `done`; `failed`, which is also taken up again: `error` says why it could not go on.
        paths: URIs of the folders and files that were asked for.
        retry: whether files are tried again that failed as often as they may.
        counts: of a finished job, as ingest.outcomes.IngestSummary.as_dict has them.
    """

    id: str
    store_id: str
    store: str
    state: JobState
    paths: tuple[str, ...]
    retry: bool
    created_at: float
    started_at: float | None
    finished_at: float | None
    counts: Mapping[str, Any]
    error: str


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file that a job has found. `seq` is its place in the order of finding, from 0."""

    seq: int
    uri: str
    root_uri: str
    size_bytes: int
    outcome: Outcome
    reason: str = ""
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is.

    Attributes:
        found: files, so far.
        done: of them.
        done_bytes: of all that was to be read, how much was.
        todo_bytes: what is left to be read.
    """

    found: int
    done: int
    done_bytes: int
    todo_bytes: int


class Jobs:
    """The jobs of one ledger."""

    def __init__(self, engine: Engine, lease: Lease | None = None) -> None:
        """With a lease, every transaction that writes fails with LeaseLostError once somebody else has it."""
        self._engine = engine
        self._lease = lease

    def under_lease(self, lease: Lease) -> Jobs:
        """The same jobs, written to under a lease."""
        return Jobs(self._engine, lease)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            if self._lease:
                self._lease.require(connection)
            yield connection

    def submit(self, store_id: str, paths: Sequence[str], *, retry: bool = False) -> Job:
        """Ask for an ingest; an unfinished job for the same paths is taken up again instead."""
        with self._transaction() as connection:
            rows = connection.execute(_select().where(jobs.c.store_id == store_id, jobs.c.state != "done"))
            for row in rows.mappings():
                if sorted(row["paths"]) == sorted(paths):
                    connection.execute(update(jobs).where(jobs.c.id == row["id"]).values(retry=int(retry)))
                    return _job({**row, "retry": int(retry)})
            identity = new_job(connection, store_id, paths, retry=retry)
            return _job(connection.execute(_select().where(jobs.c.id == identity)).mappings().one())

    def get(self, job_id: str) -> Job:
        """One job, by its id or the beginning of it. Raises NotFoundError."""
        with self._engine.connect() as connection:
            found = connection.execute(_select().where(jobs.c.id.startswith(job_id, autoescape=True))).mappings().all()
        if len(found) != 1:
            raise NotFoundError(f"No job, or more than one, has an id like {job_id!r}. `quoth jobs` lists them.")
        return _job(found[0])

    def all(self) -> list[Job]:
        """All jobs, the latest first."""
        with self._engine.connect() as connection:
            found = connection.execute(_select().order_by(jobs.c.created_at.desc(), jobs.c.id)).mappings()
            return [_job(row) for row in found]

    def start(self, job_id: str) -> None:
        """Note that the holder of the lease begins a job, from its beginning."""
        fence = self._lease.fence if self._lease else 0
        values = {"state": "running", "fence": fence, "started_at": time.time(), "finished_at": None, "error": ""}
        with self._transaction() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))
            connection.execute(delete(job_files).where(job_files.c.job_id == job_id))

    def finish(self, job: Job, counts: Mapping[str, Any]) -> None:
        """Note what a job came to; its files, and the store's oldest jobs, are forgotten."""
        values = {"state": "done", "finished_at": time.time(), "counts": dict(counts)}
        own = (jobs.c.store_id == job.store_id, jobs.c.state == "done")
        with self._transaction() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job.id).values(**values))
            connection.execute(delete(job_files).where(job_files.c.job_id == job.id))
            kept = select(jobs.c.id).where(*own).order_by(jobs.c.created_at.desc()).limit(KEPT_JOBS)
            connection.execute(delete(jobs).where(*own, jobs.c.id.not_in(kept)))

    def fail(self, job_id: str, error: str) -> None:
        """Note why a job could not go on; it is taken up again when it is asked for again."""
        values = {"state": "failed", "finished_at": time.time(), "error": error}
        with self._transaction() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))

    def add(self, job_id: str, files: Sequence[JobFile]) -> None:
        """Note files that were found."""
        if files:
            with self._transaction() as connection:
                connection.execute(insert(job_files), [_file_row(job_id, file) for file in files])

    def todo(self, job_id: str, after: int, limit: int, attempts: int) -> list[JobFile]:
        """Files to be read, in the order of finding, behind `after`, that were tried this often in this job."""
        query = select(job_files).where(
            job_files.c.job_id == job_id, job_files.c.outcome == TODO, job_files.c.seq > after,
            job_files.c.attempts == attempts,
        )  # fmt: skip
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(job_files.c.seq).limit(limit)).mappings()
            return [JobFile(**{name: row[name] for name in JobFile.__slots__}) for row in rows]

    def close(self, job_id: str, uri: str, outcome: Outcome, reason: str = "") -> None:
        """Note what became of a file; `todo` is for one that is to be tried again."""
        again = {"attempts": job_files.c.attempts + 1} if outcome == TODO else {}
        with self._transaction() as connection:
            connection.execute(
                update(job_files)
                .where(job_files.c.job_id == job_id, job_files.c.uri == uri)
                .values(outcome=outcome, reason=reason, **again)
            )

    def tally(self, job_id: str) -> Counter[tuple[str, str]]:
        """How many files there are of each outcome and reason."""
        grouped = (job_files.c.outcome, job_files.c.reason)
        query = select(*grouped, func.count()).where(job_files.c.job_id == job_id).group_by(*grouped)
        with self._engine.connect() as connection:
            return Counter({(row[0], row[1]): row[2] for row in connection.execute(query)})

    def progress(self, job_id: str) -> JobProgress:
        """How far a running job is."""
        todo = job_files.c.outcome == TODO
        size = func.coalesce(func.sum(job_files.c.size_bytes), 0)
        mine = job_files.c.job_id == job_id
        with self._engine.connect() as connection:
            found, done = (
                connection.execute(select(func.count()).where(mine, *which)).scalar_one() for which in ((), (~todo,))
            )
            read = job_files.c.outcome.in_(("indexed", "failed"))
            done_bytes, todo_bytes = (
                connection.execute(select(size).where(mine, which)).scalar_one() for which in (read, todo)
            )
        return JobProgress(int(found), int(done), int(done_bytes), int(todo_bytes))

    def gone(self, job: Job, after: str, limit: int) -> list[tuple[str, str, str]]:
        """Documents below the job's paths whose file was not found, or holds no text any more.

        Returns:
            (uri, document id, reason) in the order of URIs behind `after`; the reason why the file was refused, or "".
        """
        same = and_(job_files.c.job_id == job.id, job_files.c.uri == documents.c.uri)
        refused = job_files.c.outcome.in_(("skipped", "failed"))
        query = (
            select(documents.c.uri, documents.c.id, func.coalesce(job_files.c.reason, ""))
            .select_from(documents.outerjoin(job_files, same))
            .where(documents.c.store_id == job.store_id, below(documents.c.uri, job.paths), documents.c.uri > after)
            .where(or_(job_files.c.uri.is_(None), refused))
            .order_by(documents.c.uri)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(query)]

    def refused(self, job: Job, after: str, limit: int) -> list[tuple[str, str, str]]:
        """As `gone`, but only documents whose file the job has found and refused."""
        refused = and_(
            job_files.c.job_id == job.id,
            job_files.c.outcome.in_(("skipped", "failed")),
            job_files.c.reason != WITHDRAWN,
        )
        query = (
            select(documents.c.uri, documents.c.id, job_files.c.reason)
            .select_from(documents.join(job_files, job_files.c.uri == documents.c.uri))
            .where(documents.c.store_id == job.store_id, refused, documents.c.uri > after)
            .order_by(documents.c.uri)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(query)]

    def uris(self, job_id: str, reason: str) -> list[str]:
        """The URIs that were refused for a reason."""
        query = select(job_files.c.uri).where(job_files.c.job_id == job_id, job_files.c.reason == reason)
        with self._engine.connect() as connection:
            return list(connection.scalars(query.order_by(job_files.c.uri)))

    def count_moved(self, job: Job, uris: Sequence[str]) -> int:
        """How many of these documents have the bytes of one that the job has indexed."""
        fresh = select(job_files.c.uri).where(job_files.c.job_id == job.id, job_files.c.outcome == "indexed")
        hashes = select(documents.c.source_sha256).where(
            documents.c.store_id == job.store_id, documents.c.uri.in_(fresh)
        )
        query = select(func.count()).where(
            documents.c.store_id == job.store_id, documents.c.uri.in_(uris), documents.c.source_sha256.in_(hashes)
        )
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def drop_refusals(self, job: Job) -> None:
        """Forget refusals below the job's paths of files that it did not refuse."""
        refused = select(job_files.c.uri).where(
            job_files.c.job_id == job.id, job_files.c.outcome.in_(("skipped", "failed"))
        )
        old = (refusals.c.store_id == job.store_id, below(refusals.c.uri, job.paths), refusals.c.uri.not_in(refused))
        with self._transaction() as connection:
            connection.execute(delete(refusals).where(*old))

    def remember_roots(self, job: Job) -> None:
        """Note the job's paths among those that the store is kept in step with, none of which lies below another."""
        with self._transaction() as connection:
            known = set(connection.scalars(select(roots.c.uri).where(roots.c.store_id == job.store_id)))
            wanted = known | set(job.paths)
            outer = {uri for uri in wanted if not any(is_below(uri, other) for other in wanted - {uri})}
            for uri in outer - known:
                connection.execute(insert(roots).values(store_id=job.store_id, uri=uri, added_at=time.time()))
            inner = (roots.c.store_id == job.store_id, roots.c.uri.in_(known - outer))
            connection.execute(delete(roots).where(*inner))

    def forget_roots(self, store_id: str, uris: Sequence[str]) -> int:
        """Keep a store in step no longer with what lies at and below these URIs; returns how many roots there were."""
        with self._transaction() as connection:
            lost = delete(roots).where(roots.c.store_id == store_id, below(roots.c.uri, uris))
            return int(connection.execute(lost).rowcount)

    def roots(self, store_id: str) -> list[str]:
        """URIs of all that was ever ingested into a store by name, sorted."""
        with self._engine.connect() as connection:
            return list(
                connection.scalars(select(roots.c.uri).where(roots.c.store_id == store_id).order_by(roots.c.uri))
            )


def new_job(connection: Connection, store_id: str, paths: Sequence[str], *, retry: bool) -> str:
    """Enter a job that waits, as part of a transaction; returns its id."""
    identity = str(uuid.uuid4())
    values = {"state": "waiting", "paths": list(paths), "retry": int(retry), "fence": 0, "counts": {}, "error": ""}
    connection.execute(insert(jobs).values(id=identity, store_id=store_id, created_at=time.time(), **values))
    return identity


def note_indexed(connection: Connection, job_id: str, uris: Sequence[str]) -> None:
    """Note that these files are indexed, as part of the transaction that makes it so."""
    _note(connection, job_id, uris, {"outcome": "indexed"})


def note_withdrawn(connection: Connection, job_id: str, uris: Sequence[str]) -> None:
    """Note that these files were not to be read any more by the time they were."""
    _note(connection, job_id, uris, {"outcome": "skipped", "reason": WITHDRAWN})


def _note(connection: Connection, job_id: str, uris: Sequence[str], values: Mapping[str, str]) -> None:
    for start in range(0, len(uris), BATCH):
        mine = and_(job_files.c.job_id == job_id, job_files.c.uri.in_(uris[start : start + BATCH]))
        connection.execute(update(job_files).where(mine).values(**values))


def _select() -> Any:
    lease = and_(leases.c.name == "store:" + jobs.c.store_id, leases.c.fence == jobs.c.fence)
    return select(jobs, stores.c.name, leases.c.expires_at).select_from(
        jobs.join(stores, stores.c.id == jobs.c.store_id).outerjoin(leases, lease)
    )


def _job(row: Mapping[Any, Any]) -> Job:
    state = row["state"]
    if state == "running" and (row["expires_at"] or 0) < time.time():
        state = "stopped"
    return Job(
        id=row["id"], store_id=row["store_id"], store=row["name"], state=state, paths=tuple(row["paths"]),
        retry=bool(row["retry"]), created_at=row["created_at"], started_at=row["started_at"],
        finished_at=row["finished_at"], counts=row["counts"], error=row["error"],
    )  # fmt: skip


def _file_row(job_id: str, file: JobFile) -> dict[str, Any]:
    return {"job_id": job_id, **{name: getattr(file, name) for name in JobFile.__slots__}}
