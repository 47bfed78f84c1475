"""A worker of uploads that is killed at any point, and another after it, reach what an undisturbed one reaches."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.backends.vectors.edge_process import stop_worker
from rag.documents import store_id
from rag.ledger.connection import connect
from rag.ledger.store_files import StoreFiles
from tests.fakes import fake_engine
from tests.ingest.test_crash import CHECKPOINTS, ONCE, ROOT, Contents, contents
from tests.ingest.uploads import attach, make_store, upload

Statuses = dict[str, tuple[str, str | None]]

FILES = 12
KILLS = 5


def start(data: Path, *fatal: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.ingest.upload_crash_victim", str(data), *fatal]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(data: Path) -> None:
    process = start(data)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def text_of(number: int, says: str) -> str:
    paragraphs = (f"Fact {number}.{line} is that thing {number} {says}. " * 40 for line in range(24))
    return f"# Note {number}\n\n" + "\n\n".join(paragraphs)


def reached(data: Path) -> tuple[Contents, Statuses]:
    """What the store holds, and what is said of each file."""
    ledger = connect(data)
    rows, _ = StoreFiles(ledger).page(store_id("default"), limit=100)
    ledger.dispose()
    return contents(data), {row.file_id: (row.status, row.error_code) for row in rows}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Contents, Statuses]]:
    """Uploads of which some are read, and of which the others wait; and what a store of them comes to."""
    root = tmp_path_factory.mktemp("upload crash")
    before, clean = root / "before", root / "clean"
    with fake_engine(before) as engine:
        store = make_store(engine)
        files = [upload(engine, f"{number}.md", text_of(number, "is so")) for number in range(FILES)]
        files.append(upload(engine, "broken.pdf", b"%PDF-1.7 nothing behind it"))
        attach(engine, store, *files[:6])
    finish(before)
    stop_worker(before)
    with fake_engine(before) as engine:
        attach(engine, store, *files[2:], batch=True, attributes={"v": 2}, groups=["staff"])  # 2 to 5 are there already
        engine.store_files.detach(store.id, [files[0].id])
    shutil.copytree(before, clean)
    finish(clean)
    wanted = reached(clean)
    stop_worker(clean)
    assert len(wanted[1]) == FILES
    yield before, *wanted


@pytest.fixture
def data(prepared: tuple[Path, Contents, Statuses], tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(prepared[0], tmp_path / "data")
    yield tmp_path / "data"
    stop_worker(tmp_path / "data")


def test_an_undisturbed_worker_leaves_nothing_to_do(prepared: tuple[Path, Contents, Statuses]) -> None:
    (chunks, points, leftovers), statuses = prepared[1:]
    assert leftovers == []
    assert sorted(chunk[3] for chunk in chunks) == [point[0] for point in points]
    assert sorted(status for status, _ in statuses.values()) == ["completed"] * (FILES - 1) + ["failed"]


@pytest.mark.parametrize("name", ["embedded", "upserted", "switched"])
def test_killed_at_a_step(prepared: tuple[Path, Contents, Statuses], data: Path, name: str) -> None:
    kill_and_go_on(prepared, data, name)


@pytest.mark.long
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_killed_twice_at_every_step(prepared: tuple[Path, Contents, Statuses], data: Path, name: str) -> None:
    if name == "retired":
        pytest.skip("a job of uploads retires what is refused of them, and here nothing of it was read before")
    kill_and_go_on(prepared, data, name, "1" if name in ONCE else "2")


def kill_and_go_on(prepared: tuple[Path, Contents, Statuses], data: Path, name: str, nth: str = "1") -> None:
    victim = start(data, name, nth)
    victim.communicate(timeout=120)
    assert victim.returncode == -signal.SIGKILL
    finish(data)
    assert reached(data) == prepared[1:]


@pytest.mark.long
def test_killed_at_random_moments(prepared: tuple[Path, Contents, Statuses], tmp_path: Path) -> None:
    draw = random.Random(20261123)
    duration = 3.0
    met = missed = 0
    while met < KILLS:
        data = tmp_path / str(met + missed)
        shutil.copytree(prepared[0], data)
        began = time.monotonic()
        victim = start(data)
        try:
            victim.wait(draw.uniform(0.2, 1) * duration)
        except subprocess.TimeoutExpired:
            victim.kill()
        victim.communicate()
        if victim.returncode == -signal.SIGKILL:
            met += 1
        else:
            missed += 1
            duration = min(duration, time.monotonic() - began)
        assert missed < 10 + KILLS
        finish(data)
        assert reached(data) == prepared[1:], f"kill {met}"
        stop_worker(data)
        shutil.rmtree(data)
