"""An index that is built beside the running engine: nothing is lost or comes back, whoever is killed, and when."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rag.backends.vectors.edge_process import Workplace
from rag.backends.vectors.qdrant_edge import EdgeChunkStore, stop_worker
from rag.documents import Point, SparseVector
from rag.filters import Eq

ROOT = Path(__file__).resolve().parents[4]
DIMENSION = 64
INDEX_FROM = 500
PATIENCE_SECONDS = 120
MARK = "what-was-deleted-is-gone"

DRIVER = """
import sys, threading
from array import array
from pathlib import Path
from uuid import UUID
import numpy as np
from rag.backends.vectors.edge_build import Collection
from rag.backends.vectors.edge_config import Indexing

stops, gate, engine = sys.argv[2].split(","), threading.Semaphore(0), threading.Lock()

def out(line):
    sys.stdout.write(line + "\\n")  # in one piece, beside the other thread's
    sys.stdout.flush()

def say(line):
    out(line)
    if line.split()[-1] in stops:
        gate.acquire()

with engine:
    served = Collection(Path(sys.argv[1]), "c", 64, Indexing(500), engine, say)

def write(operation, *arguments):
    with served.writing, engine:
        served.write(operation, list(arguments))

def upsert(first, last, mark):
    ids = [str(UUID(int=n)) for n in range(first, last)]
    payloads = [{"store": "s", "document": f"d{n % 10}", "generation": "g", "attributes": {"mark": mark}}
                for n in range(first, last)]
    dense = b"".join(np.random.default_rng(n).standard_normal(64).astype("f").tobytes() for n in range(first, last))
    n = len(ids)
    write("upsert", ids, payloads, dense, array("I", [1] * n).tobytes(), array("I", [1] * n).tobytes(),
          array("f", [1.0] * n).tobytes())

for line in sys.stdin:
    match line.split():
        case ["upsert", first, last, mark]:
            upsert(int(first), int(last), mark)
        case ["delete", document]:
            write("delete", ["match", "document", document])
        case ["tidy"]:
            with engine:
                served.tidy(0, 0)
        case ["go"]:
            gate.release()
        case ["sizes"]:
            with engine:
                out("sizes {} {}".format(*served.shard.sizes()))
            continue
        case ["indexes"]:
            with engine:
                schema = served.shard._shard.info().payload_schema
                out("indexes " + " ".join(sorted(schema)))
            continue
    out("ok")
"""


class Driver:
    """A process that serves one collection, and stands still at the steps that are named."""

    def __init__(self, folder: Path, *stops: str) -> None:
        self.vectors = folder / "vectors"
        self.vectors.mkdir(exist_ok=True)
        command = [sys.executable, "-c", DRIVER, str(self.vectors), ",".join(stops) or "-"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said: list[str] = []
        self.watchdog = threading.Timer(PATIENCE_SECONDS, self.process.kill)
        self.watchdog.start()

    def tell(self, *words: object, answer: str = "ok") -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.wait_for(answer)

    def wait_for(self, text: str) -> str:
        """The first line with the text, which is then taken; others stay, since a build speaks between answers."""
        assert self.process.stdout is not None
        while not any(text in line for line in self.said):
            line = self.process.stdout.readline()
            assert line, f"the driver ended without saying {text!r}, but {self.said}"
            self.said.append(line.strip())
        return self.said.pop(next(at for at, line in enumerate(self.said) if text in line))

    def kill(self) -> None:
        self.watchdog.cancel()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Starts drivers over the test's folder, one after the other, and ends the last of them."""
    drivers: list[Driver] = []

    def start(*stops: str) -> Driver:
        drivers.append(Driver(tmp_path, *stops))
        return drivers[-1]

    yield start
    for each in drivers:
        each.kill()
    stop_worker(tmp_path)


def chunk(number: int) -> str:
    return str(uuid.UUID(int=number))


def vector(number: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal(DIMENSION).astype(np.float32)


def point(number: int) -> Point:
    return Point(chunk(number), f"d{number % 10}", "g", vector(number), SparseVector((1,), (1.0,)))


def found_in(folder: Path, collection: str = "c") -> tuple[set[str], list[str]]:
    """All ids, and the ten nearest to a query, as a new worker finds them."""

    async def look() -> tuple[set[str], list[str]]:
        store = EdgeChunkStore(folder, collection, DIMENSION, idle_seconds=1)
        try:
            ids = {each[0] for each in await store.identities("s", None, 100_000)}
            nearest = await store.search("s", vector(10**6), None, 10)
            return ids, [each.chunk_id for each in nearest.dense]
        finally:
            await store.close()

    try:
        return asyncio.run(look())
    finally:
        stop_worker(folder)


def exact(numbers: list[int], wanted: int = 10) -> list[str]:
    vectors = np.stack([vector(n) for n in numbers])
    scores = vectors @ vector(10**6) / np.linalg.norm(vectors, axis=1)
    return [chunk(numbers[row]) for row in np.argsort(-scores)[:wanted]]


def shard_folders(folder: Path) -> list[str]:
    return sorted(each.name for each in (folder / "vectors").iterdir() if each.name.startswith("c"))


def builder_pid(lock: Path) -> int:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(lock.read_text())
        time.sleep(0.01)
    raise AssertionError("no builder has taken its lock")


def is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("step", ["copying", "building", "replaying", "switching", "switched"])
def test_a_worker_killed_at_any_step_loses_nothing(drive: Callable[..., Driver], tmp_path: Path, step: str) -> None:
    driver = drive("building", step)
    driver.tell("upsert", 1, 1501, "-")
    driver.tell("tidy")
    if step != "copying":
        driver.wait_for("building")
        driver.tell("upsert", 1501, 1601, "-")
        driver.tell("delete", "d3")
        driver.tell("upsert", 13, 14, "-")
    if step not in ("copying", "building"):
        driver.tell("go")
    driver.wait_for(step) if step != "building" else None
    driver.kill()
    last = 1501 if step == "copying" else 1601
    there = [n for n in range(1, last) if step == "copying" or n % 10 != 3 or n == 13]
    ids, nearest = found_in(tmp_path)
    assert ids == {chunk(n) for n in there}
    assert len(set(nearest) & set(exact(there))) >= 9
    assert shard_folders(tmp_path) == (["c.1", "c.current"] if step == "switched" else ["c"])


def test_an_index_takes_over_what_was_written_meanwhile(drive: Callable[..., Driver], tmp_path: Path) -> None:
    driver = drive("building")
    driver.tell("upsert", 1, 1501, "-")
    assert driver.tell("sizes", answer="sizes") == "sizes 1500 1500"
    driver.tell("tidy")
    driver.wait_for("building")
    driver.tell("upsert", 1501, 1601, "-")
    driver.tell("delete", "d3")
    driver.tell("upsert", 13, 14, "-")
    driver.tell("go")
    driver.wait_for("indexed c: ")
    points, exactly = map(int, driver.tell("sizes", answer="sizes").split()[1:])
    assert points == 1441
    assert 91 <= exactly <= 101  # the engine counts what was deleted since, too
    fields = "indexes attributes.mark document generation groups store"
    assert driver.tell("indexes", answer="indexes") == fields
    driver.kill()
    there = [n for n in range(1, 1601) if n % 10 != 3 or n == 13]
    ids, nearest = found_in(tmp_path)
    assert ids == {chunk(n) for n in there}
    assert nearest == exact(there)
    assert shard_folders(tmp_path) == ["c.1", "c.current"]


def test_a_killed_builder_costs_the_build_only(drive: Callable[..., Driver], tmp_path: Path) -> None:
    driver = drive("copying")
    driver.tell("upsert", 1, 6001, "-")
    driver.tell("tidy")
    driver.wait_for("copying")
    driver.tell("go")
    os.kill(builder_pid(tmp_path / "vectors" / "c.1.lock"), signal.SIGKILL)
    driver.wait_for("c was not indexed, and is tried again")
    driver.tell("upsert", 6001, 6101, "-")
    driver.kill()
    ids, nearest = found_in(tmp_path)
    assert ids == {chunk(n) for n in range(1, 6101)}
    assert nearest == exact(list(range(1, 6101)))
    assert shard_folders(tmp_path) == ["c"]


def test_a_builder_that_outlives_its_worker_is_ended(drive: Callable[..., Driver], tmp_path: Path) -> None:
    driver = drive()
    driver.tell("upsert", 1, 6001, "-")
    driver.tell("tidy")
    pid = builder_pid(tmp_path / "vectors" / "c.1.lock")
    os.kill(pid, signal.SIGSTOP)
    driver.kill()
    assert is_alive(pid)
    ids, _ = found_in(tmp_path)
    assert len(ids) == 6000
    assert not is_alive(pid)
    assert shard_folders(tmp_path) == ["c"]


@pytest.mark.long
def test_what_is_deleted_after_indexing_leaves_the_files_and_the_index_stays(
    drive: Callable[..., Driver], tmp_path: Path
) -> None:
    driver = drive()
    driver.tell("upsert", 1, 1501, "-")
    driver.tell("upsert", 1501, 1502, MARK)
    driver.tell("tidy")
    driver.wait_for("indexed c")
    driver.tell("delete", "d1")
    assert driver.tell("sizes", answer="sizes") == "sizes 1350 0"
    for _ in range(PATIENCE_SECONDS):  # the last build's length is waited for, a few times
        driver.tell("tidy")
        if not holds(tmp_path, MARK):
            break
        time.sleep(1)
    assert driver.tell("sizes", answer="sizes") == "sizes 1350 0"
    driver.kill()
    assert not holds(tmp_path, MARK)
    ids, nearest = found_in(tmp_path)
    assert ids == {chunk(n) for n in range(1, 1501) if n % 10 != 1}
    assert nearest == exact([n for n in range(1, 1501) if n % 10 != 1])


def holds(folder: Path, text: str) -> bool:
    """Whether any file of the vectors holds the text. Files may go while this looks."""
    for path, _, names in os.walk(folder / "vectors"):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                if text.encode() in Path(path, name).read_bytes():
                    return True
    return False


def test_the_worker_builds_by_itself_while_it_is_used(tmp_path: Path) -> None:
    there = set(range(1, 1501))

    async def work() -> None:
        store = EdgeChunkStore(tmp_path, "c", DIMENSION, index_from=INDEX_FROM, idle_seconds=1)
        await store.upsert("s", [point(n) for n in sorted(there)])
        last, log = 1501, Workplace.of(tmp_path).log
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "indexed c:" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            await store.upsert("s", [point(last)])
            there.add(last)
            last += 1
            gone = min(there)
            await store.delete("s", Eq("chunk_id", chunk(gone)))
            there.remove(gone)
            nearest = (await store.search("s", vector(last - 1), None, 1)).dense[0]
            assert nearest.chunk_id == chunk(last - 1)
            await asyncio.sleep(0.02)
        await store.close()

    try:
        asyncio.run(work())
        stop_worker(tmp_path)  # which may leave the old shard half removed
        ids, nearest = found_in(tmp_path)
        assert ids == {chunk(n) for n in there}
        assert len(set(nearest) & set(exact(sorted(there)))) >= 9
        assert shard_folders(tmp_path) == ["c.1", "c.current"]
    finally:
        stop_worker(tmp_path)
