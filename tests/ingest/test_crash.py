"""Killed with SIGKILL at any point and run again, an ingest reaches the store of an undisturbed run."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.backends.vectors.edge_process import Workplace, stop_worker
from rag.backends.vectors.qdrant_edge import EdgeChunkStore
from rag.documents import store_id
from rag.ledger.connection import connect
from rag.ledger.documents import Documents
from tests.fakes import DIMENSION
from tests.ingest.made import SAMPLES

ROOT = Path(__file__).parents[2]
CHECKPOINTS = [
    "scanned", "embedded", "begun", "upserted", "flushed", "counted", "switched", "deleted", "forgotten", "retired",
    "finished",
]  # fmt: skip
ONCE = {"scanned", "finished"}  # a run comes by there once

Contents = tuple[list[tuple[str, str, int, str, str]], list[tuple[str, str, str]], list[tuple[str, str]]]


def start(data: Path, docs: Path, *fatal: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.ingest.crash_victim", str(data), str(docs), *fatal]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(data: Path, docs: Path) -> None:
    process = start(data, docs)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def contents(data: Path) -> Contents:
    """All that two equal stores agree on: chunks with their text, points, and nothing left to do."""

    async def points() -> list[tuple[str, str, str]]:
        store = EdgeChunkStore(data, "fake", DIMENSION)
        try:
            return await store.identities(store_id("default"), None, 10_000)
        finally:
            await store.close()

    ledger = connect(data)
    documents = Documents(ledger)
    found = documents.dump(store_id("default")), asyncio.run(points()), documents.leftovers(store_id("default"))
    ledger.dispose()
    return found


def write_first(docs: Path) -> None:
    docs.mkdir()
    for number in range(12):
        paragraphs = (f"Fact {number}.{line} is about thing {number}. " * 40 for line in range(24))
        (docs / f"{number}.md").write_text(f"# Note {number}\n\n" + "\n\n".join(paragraphs))
    for name, data in SAMPLES.items():
        (docs / name).write_bytes(data)
    (docs / "moved.txt").write_text("What is here will be there. " * 60)


def write_second(docs: Path) -> None:
    for number in range(4):
        paragraphs = (f"Now fact {number}.{line} says otherwise. " * 40 for line in range(30))
        (docs / f"{number}.md").write_text(f"# Note {number}\n\n" + "\n\n".join(paragraphs))
    for gone in (5, 6):
        (docs / f"{gone}.md").unlink()
    shutil.copy(docs / "7.md", docs / "copy of 7.md")
    (docs / "deep").mkdir()
    (docs / "moved.txt").rename(docs / "deep" / "moved.txt")
    (docs / "new.txt").write_text("Something new. " * 30)
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 nothing behind it")
    (docs / "guide.md").write_bytes(b"\0 no text any more")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, Contents]]:
    """The folder after its changes, a data directory from before them, and what a clean run of now holds."""
    root = tmp_path_factory.mktemp("crash")
    docs, before, clean = root / "docs", root / "before", root / "clean"
    write_first(docs)
    finish(before, docs)
    stop_worker(before)
    write_second(docs)
    finish(clean, docs)
    wanted = contents(clean)
    stop_worker(clean)
    yield docs, before, wanted


@pytest.fixture
def data(prepared: tuple[Path, Path, Contents], tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(prepared[1], tmp_path / "data")
    yield tmp_path / "data"
    stop_worker(tmp_path / "data")


def test_an_undisturbed_update_equals_a_clean_run(prepared: tuple[Path, Path, Contents], data: Path) -> None:
    docs, _, wanted = prepared
    finish(data, docs)
    assert contents(data) == wanted
    chunks, points, leftovers = wanted
    assert leftovers == []
    assert sorted(chunk[3] for chunk in chunks) == [point[0] for point in points]


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_killed_at_a_step_of_the_write_order(
    prepared: tuple[Path, Path, Contents], data: Path, name: str, request: pytest.FixtureRequest
) -> None:
    """Killed there, taken up again and killed there again, so many times; then finished."""
    docs, _, wanted = prepared
    for number in range(int(request.config.getoption("--crash-repeats"))):
        victim = start(data, docs, name, "1" if name in ONCE else str(1 + number % 2))
        victim.communicate(timeout=120)
        assert victim.returncode == -9 or number
    finish(data, docs)
    assert contents(data) == wanted


@pytest.mark.slow
def test_killed_at_random_moments(
    prepared: tuple[Path, Path, Contents], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every third time the vector engine's process is killed too."""
    docs, before, wanted = prepared
    kills = int(request.config.getoption("--crash-kills"))
    draw = random.Random(20261121)
    duration = 3.0  # of a whole run, as it was last seen; only kills that meet a running ingest count
    met = missed = 0
    while met < kills:
        data = tmp_path / str(met + missed)
        shutil.copytree(before, data)
        began = time.monotonic()
        victim = start(data, docs)
        try:
            victim.wait(draw.uniform(0.2, 1) * duration)
        except subprocess.TimeoutExpired:
            victim.kill()
        if met % 3 == 0:
            kill_worker(data)
        victim.communicate()
        if victim.returncode == -signal.SIGKILL:
            met += 1
            duration *= 1.02
        else:
            missed += 1
            duration = min(duration, time.monotonic() - began)
        assert missed < 10 + kills
        finish(data, docs)
        assert contents(data) == wanted, f"kill {met}"
        stop_worker(data)
        shutil.rmtree(data)
    print(f"{met} kills met a running ingest, {missed} came too late")  # noqa: T201


def kill_worker(data: Path) -> None:
    note = Workplace.of(data).address_file
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(json.loads(note.read_text())["pid"], signal.SIGKILL)
