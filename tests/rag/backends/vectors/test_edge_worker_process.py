"""The Edge worker among processes: shared, killed, left alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rag.backends.vectors import wire
from rag.backends.vectors.edge_process import Workplace
from rag.backends.vectors.qdrant_edge import EdgeChunkStore, stop_worker
from rag.documents import Point, SparseVector
from rag.errors import InvalidInputError, StorageError, StorageUnavailableError

ROOT = Path(__file__).resolve().parents[4]
PATIENCE_SECONDS = 30

CLIENT = """
import asyncio, sys, uuid
from pathlib import Path
import numpy as np
from rag.backends.vectors.qdrant_edge import EdgeChunkStore
from rag.documents import Point, SparseVector

async def main(folder, store_id, first, count, then):
    store = EdgeChunkStore(Path(folder), "chunks", 4, idle_seconds=1)
    for number in range(int(first), int(first) + int(count)):
        vector = np.full(4, number, dtype=np.float32)
        await store.upsert(store_id, [Point(str(uuid.UUID(int=number)), "d", "g", vector, SparseVector((1,), (1.0,)))])
    print("written", flush=True)
    if then == "wait":
        sys.stdin.read()
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose worker is stopped afterwards."""
    yield tmp_path
    stop_worker(tmp_path)


def open_store(folder: Path, dimension: int = 4, idle_seconds: float = 1) -> EdgeChunkStore:
    return EdgeChunkStore(folder, "chunks", dimension, idle_seconds=idle_seconds)


def points(first: int, count: int) -> list[Point]:
    return [
        Point(str(uuid.UUID(int=n)), "d", "g", np.full(4, n, dtype=np.float32), SparseVector((1,), (1.0,)))
        for n in range(first, first + count)
    ]


def use(folder: Path, work: Callable[[EdgeChunkStore], Awaitable[None]]) -> None:
    async def run() -> None:
        store = open_store(folder)
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


def worker_pid(folder: Path) -> int:
    return int(json.loads(Workplace.of(folder).address_file.read_text())["pid"])


def is_alive(pid: int) -> bool:
    """A process that is over may stay as a zombie, where nobody collects the orphans."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def start_client(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(folder), *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_start_together_share_one_worker(folder: Path) -> None:
    clients = [start_client(folder, f"s{n}", str(1000 * n + 1), "50", "end") for n in range(3)]
    for client in clients:
        client.communicate(timeout=PATIENCE_SECONDS)
        assert client.returncode == 0

    async def work(store: EdgeChunkStore) -> None:
        assert [await store.count(f"s{n}") for n in range(3)] == [50, 50, 50]

    use(folder, work)
    assert Workplace.of(folder).log.read_text().count("listens on") == 1


def test_a_killed_worker_loses_nothing_and_the_next_call_works(folder: Path) -> None:
    async def work(store: EdgeChunkStore) -> None:
        for round_number in range(3):
            await store.upsert("s", points(1 + 600 * round_number, 300))
            await store.flush()
            await store.upsert("s", points(301 + 600 * round_number, 300))  # acknowledged, not flushed
            killed = worker_pid(folder)
            os.kill(killed, signal.SIGKILL)
            found = await store.search("s", np.ones(4, dtype=np.float32), SparseVector((1,), (1.0,)), 10_000)
            assert len(found.dense) == len(found.sparse) == 600 * (round_number + 1)
            assert len(await store.identities("s", None, 10_000)) == 600 * (round_number + 1)
            assert worker_pid(folder) != killed

    use(folder, work)


def test_calls_in_flight_survive_the_death_of_the_worker(folder: Path) -> None:
    async def work(store: EdgeChunkStore) -> None:
        await store.count("s")
        writes = [asyncio.create_task(store.upsert("s", points(1 + 500 * n, 500))) for n in range(8)]
        await asyncio.sleep(0.02)
        os.kill(worker_pid(folder), signal.SIGKILL)
        await asyncio.gather(*writes)
        assert await store.count("s") == 4000

    use(folder, work)


def test_a_killed_client_leaves_the_worker_usable(folder: Path) -> None:
    client = start_client(folder, "s", "1", "20", "wait")
    assert client.stdout is not None
    assert client.stdout.readline() == "written\n"
    pid = worker_pid(folder)
    client.kill()
    client.communicate()

    async def work(store: EdgeChunkStore) -> None:
        assert await store.count("s") == 20

    use(folder, work)
    assert worker_pid(folder) == pid
    assert is_alive(pid)


def test_a_worker_that_nobody_needs_ends(folder: Path) -> None:
    async def work(store: EdgeChunkStore) -> None:
        await store.upsert("s", points(1, 3))

    use(folder, work)
    pid = worker_pid(folder)
    wait_until(lambda: not is_alive(pid))
    assert "ends: idle" in Workplace.of(folder).log.read_text()

    async def again(store: EdgeChunkStore) -> None:
        assert await store.count("s") == 3

    use(folder, again)


def test_a_worker_told_to_terminate_ends_and_its_clients_do_not_notice(folder: Path) -> None:
    async def work(store: EdgeChunkStore) -> None:
        await store.upsert("s", points(1, 3))
        pid = worker_pid(folder)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid))
        assert await store.count("s") == 3

    use(folder, work)


def test_stop_worker_says_whether_one_was_running(folder: Path) -> None:
    assert stop_worker(folder) is False

    async def work(store: EdgeChunkStore) -> None:
        await store.count("s")

    use(folder, work)
    pid = worker_pid(folder)
    assert stop_worker(folder) is True
    assert not is_alive(pid)
    assert stop_worker(folder) is False


def test_another_dimension_is_refused_by_a_running_and_by_a_new_worker(folder: Path) -> None:
    async def work(store: EdgeChunkStore) -> None:
        await store.upsert("s", points(1, 3))
        for _ in range(2):
            wrong = open_store(folder, dimension=5)
            with pytest.raises(StorageError, match="cannot be opened with 5 dimensions"):
                await wrong.count("s")
            await wrong.close()
            stop_worker(folder)
        assert await store.count("s") == 3

    use(folder, work)


def test_a_store_serves_one_event_loop_after_the_other_and_many_calls_at_once(folder: Path) -> None:
    store = open_store(folder)
    asyncio.run(store.upsert("s", points(1, 10)))

    async def many() -> list[int]:
        return await asyncio.gather(*(store.count("s") for _ in range(40)))

    assert asyncio.run(many()) == [10] * 40
    asyncio.run(store.close())


def test_a_cancelled_call_does_not_leave_its_reply_to_the_next(folder: Path) -> None:
    async def work(store: EdgeChunkStore) -> None:
        await store.upsert("s", points(1, 2000))
        for _ in range(20):
            listing = asyncio.create_task(store.identities("s", None, 2000))
            await asyncio.sleep(0.001)
            listing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listing
            assert await store.count("s") == 2000

    use(folder, work)


def test_a_very_long_data_folder_works(folder: Path) -> None:
    deep = folder / ("long-" * 20) / ("longer-" * 20)

    async def work(store: EdgeChunkStore) -> None:
        assert await store.count("s") == 0

    use(deep, work)
    address = Workplace.of(deep).address()
    assert stop_worker(deep)
    assert address is not None
    assert len(address) < 100
    assert Path(address).parent.stat().st_mode & 0o077 == 0


def test_a_worker_of_another_version_is_replaced(folder: Path) -> None:
    """An older worker is played by a thread that speaks its hello and holds the folder's lock until told to exit."""
    place = Workplace.of(folder)
    place.folder.mkdir()
    old = subprocess.Popen([sys.executable, "-c", OLD_WORKER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert old.stdout is not None
    assert old.stdout.readline() == "listening\n"

    async def work(store: EdgeChunkStore) -> None:
        await store.upsert("s", points(1, 3))
        assert await store.count("s") == 3

    use(folder, work)
    old.communicate(timeout=PATIENCE_SECONDS)
    assert old.returncode == 0
    assert worker_pid(folder) != old.pid


OLD_WORKER = """
import fcntl, json, os, socket, sys
from rag.backends.vectors import wire
from rag.backends.vectors.edge_process import Workplace, make_socket_path
from pathlib import Path
place = Workplace.of(Path(sys.argv[1]))
lock = place.worker_lock.open("a")
fcntl.flock(lock, fcntl.LOCK_EX)
path = str(make_socket_path(place.data_dir))
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
place.address_file.write_text(json.dumps({"socket": path, "data_dir": str(place.data_dir), "pid": os.getpid()}))
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    try:
        while True:
            request = wire.receive(connection)
            if request == ["exit"]:
                connection.sendall(wire.pack(("done", None)))
                os.unlink(path)
                os._exit(0)
            connection.sendall(wire.pack(("done", (0, str(place.data_dir), os.getpid()))))
    except EOFError:
        connection.close()
"""


def test_a_client_that_sends_rubbish_is_dropped_and_the_others_are_served(folder: Path) -> None:
    async def work(store: EdgeChunkStore) -> None:
        await store.count("s")
        address = Workplace.of(folder).address()
        assert address is not None
        for rubbish in (b"\xff\xff\xff\xff", wire.HEADER.pack(3) + b"\xc1\xc1\xc1"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE_SECONDS)
                connection.connect(address)
                connection.sendall(rubbish)
                assert connection.recv(1) == b""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(address)
            assert wire.ask(connection, "close", "chunks")[0] == "failed"
        assert await store.count("s") == 0

    use(folder, work)


def test_an_upsert_larger_than_a_frame_is_sent_in_parts(folder: Path) -> None:
    async def work(store: EdgeChunkStore) -> None:
        text = "x" * 400_000
        wide = [Point(each.chunk_id, "d", "g", each.dense, each.sparse, {"text": text}) for each in points(1, 200)]
        await store.upsert("s", wide)
        assert await store.count("s") == 200
        huge = Point(str(uuid.UUID(int=999)), "d", "g", wide[0].dense, wide[0].sparse, {"text": "x" * (65 << 20)})
        with pytest.raises(InvalidInputError, match="too large"):
            await store.upsert("s", [*points(300, 3), huge])
        assert await store.count("s") == 200

    use(folder, work)


def test_a_worker_that_cannot_start_is_reported_with_its_log(folder: Path) -> None:
    (folder / "vectors" / "worker.lock").mkdir(parents=True)

    async def work(store: EdgeChunkStore) -> None:
        with pytest.raises(StorageUnavailableError, match=r"did not start.*IsADirectoryError"):
            await store.count("s")

    use(folder, work)
    (folder / "vectors" / "worker.lock").rmdir()


def test_a_collection_name_is_no_path(tmp_path: Path) -> None:
    for name in ("../up", "", ".", "a/b", "-x", "ü", "a" * 101):
        with pytest.raises(InvalidInputError, match="collection name"):
            EdgeChunkStore(tmp_path, name, 4)
