"""Jobs in the ledger, and the leases that keep two workers apart."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from rag.documents import document_id
from rag.errors import LeaseLostError, NotFoundError
from rag.leasing import hold, store_lease
from rag.ledger.connection import FILE_NAME, connect
from rag.ledger.documents import Documents
from rag.ledger.jobs import JobFile, Jobs
from rag.ledger.leases import Lease, Leases
from rag.ledger.stores import Store, Stores
from rag.protocols import Fingerprint


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    return Stores(engine).get_or_create("default", "c", Fingerprint("model", "1", "abc", "", "", "cls", True, 4))


def rows(*outcomes: str) -> list[JobFile]:
    return [JobFile(n, f"file:///a/{n}", "file:///a", 10, outcome, "") for n, outcome in enumerate(outcomes)]  # type: ignore[arg-type]


def test_a_lease_has_one_holder_and_a_number_that_grows(engine: Engine) -> None:
    leases = Leases(engine)
    first = leases.acquire("x", "one", "here")
    assert first == Lease("x", 1)
    assert leases.acquire("x", "two", "elsewhere") is None
    leases.release(first)
    second = leases.acquire("x", "two", "elsewhere")
    assert second == Lease("x", 2)
    leases.release(first)  # too late, and no business of the second's
    assert leases.acquire("x", "three", "here") is None
    assert leases.acquire("x", "four", "elsewhere") == Lease("x", 3)  # its file lock was free, so its holder is dead
    assert leases.acquire("x", "five", "here", take_over=True) == Lease("x", 4)
    assert leases.acquire("y", "one", "here") == Lease("y", 1)


def test_a_lease_that_was_not_renewed_in_time_is_free(engine: Engine, tmp_path: Path) -> None:
    leases = Leases(engine)
    leases.acquire("x", "one", "here")
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE leases SET expires_at = 1")
    assert leases.acquire("x", "two", "elsewhere") == Lease("x", 2)


def test_who_has_lost_the_lease_writes_nothing_more(engine: Engine, store: Store) -> None:
    leases = Leases(engine)
    lease = leases.acquire("x", "one", "here")
    assert lease
    documents, jobs = Documents(engine).under_lease(lease), Jobs(engine).under_lease(lease)
    document = document_id(store.id, "file:///a/0")
    documents.begin(store.id, [(document, "g1")])
    job = jobs.submit(store.id, ["file:///a"])
    leases.acquire("x", "two", "here", take_over=True)
    with pytest.raises(LeaseLostError, match="taken this work over"):
        documents.begin(store.id, [(document, "g2")])
    with pytest.raises(LeaseLostError):
        documents.retire(store.id, [document])
    with pytest.raises(LeaseLostError):
        jobs.add(job.id, rows("todo"))
    with pytest.raises(LeaseLostError):
        leases.renew(lease)
    assert Documents(engine).leftovers(store.id) == [(document, "g1")]
    assert not jobs.tally(job.id)


def test_holding_waits_for_others_and_says_so(engine: Engine, tmp_path: Path) -> None:
    leases = Leases(engine)
    order: list[str] = []

    async def work(name: str) -> None:
        async with hold(leases, tmp_path, "store:x", on_wait=lambda: order.append(f"{name} waits")) as lease:
            order.append(f"{name} {lease.fence if lease else None}")
            await asyncio.sleep(0.05)
            async with hold(leases, tmp_path, "store:x", wait=False) as second:
                assert second is None

    async def both() -> None:
        await asyncio.gather(work("a"), work("b"))

    asyncio.run(both())
    assert sorted(order[:2]) in (["a 1", "b waits"], ["a waits", "b 1"])
    assert order[2][1:] == " 2"


def test_an_unfinished_job_is_taken_up_again(engine: Engine, store: Store) -> None:
    jobs = Jobs(engine)
    job = jobs.submit(store.id, ["file:///a", "file:///b"])
    assert (job.state, job.store, job.paths) == ("waiting", "default", ("file:///a", "file:///b"))
    jobs.start(job.id)
    assert jobs.get(job.id[:8]).state == "stopped"  # nobody holds a lease for it
    assert jobs.submit(store.id, ["file:///b", "file:///a"]).id == job.id
    assert jobs.submit(store.id, ["file:///b"]).id != job.id
    jobs.fail(job.id, "the disk is full")
    assert (jobs.get(job.id).state, jobs.get(job.id).error) == ("failed", "the disk is full")
    again = jobs.submit(store.id, ["file:///a", "file:///b"], retry=True)
    assert (again.id, again.retry) == (job.id, True)
    jobs.finish(job, {"found": 3})
    assert (jobs.get(job.id).state, jobs.get(job.id).counts) == ("done", {"found": 3})
    assert jobs.submit(store.id, ["file:///a", "file:///b"]).id != job.id
    with pytest.raises(NotFoundError, match="quoth jobs"):
        jobs.get("nothing")


def test_a_job_runs_while_its_lease_is_held(engine: Engine, store: Store, tmp_path: Path) -> None:
    jobs, leases = Jobs(engine), Leases(engine)
    job = jobs.submit(store.id, ["file:///a"])

    async def run() -> None:
        async with hold(leases, tmp_path, store_lease(store.id)) as lease:
            assert lease
            jobs.under_lease(lease).start(job.id)
            assert jobs.get(job.id).state == "running"
        assert jobs.get(job.id).state == "stopped"

    asyncio.run(run())


def test_roots_are_remembered_without_what_lies_below_them(engine: Engine, store: Store) -> None:
    jobs = Jobs(engine)
    for paths in (["file:///a/b"], ["file:///a/b/c", "file:///d.md"], ["file:///a/bc"], ["file:///a"]):
        jobs.remember_roots(jobs.submit(store.id, paths))
    assert jobs.roots(store.id) == ["file:///a", "file:///d.md"]


def test_a_job_tells_how_far_it_is(engine: Engine, store: Store) -> None:
    jobs = Jobs(engine)
    job = jobs.submit(store.id, ["file:///a"])
    jobs.start(job.id)
    jobs.add(job.id, rows("todo", "unchanged", "todo", "todo"))
    assert [file.seq for file in jobs.todo(job.id, -1, 10, 0)] == [0, 2, 3]
    assert [file.seq for file in jobs.todo(job.id, 0, 1, 0)] == [2]
    jobs.close(job.id, "file:///a/0", "failed", "corrupt")
    jobs.close(job.id, "file:///a/2", "todo")
    assert [file.seq for file in jobs.todo(job.id, -1, 10, 1)] == [2]
    progress = jobs.progress(job.id)
    assert (progress.found, progress.done, progress.done_bytes, progress.todo_bytes) == (4, 2, 10, 20)
    assert jobs.tally(job.id) == {("failed", "corrupt"): 1, ("todo", ""): 2, ("unchanged", ""): 1}
    jobs.start(job.id)
    assert not jobs.tally(job.id)
