"""Folders from the command line: in step once, kept in step, and nothing lost when nobody reads what is printed."""

import json
import os
import pty
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.backends.vectors.edge_process import stop_worker
from rag.errors import ModelNotFoundError
from rag.ledger.connection import connect
from rag.ledger.stores import Stores
from rag.models import resolve
from rag.settings import load_settings

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60


def start(*arguments: str, data: Path, **streams: Any) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QUOTH_")}
    models = {"QUOTH_MODELS_DIR": os.environ["QUOTH_MODELS_DIR"]} if "QUOTH_MODELS_DIR" in os.environ else {}
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=data.parent,
        env={**clean, **models, "PYTHONPATH": str(ROOT), "QUOTH_DATA_DIR": str(data)},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )


def quoth(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    process = start(*arguments, data=data)
    out, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return subprocess.CompletedProcess(arguments, process.returncode, out, errors)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    settings = load_settings()
    try:
        resolve(settings.embedder.model, settings.models_dir, download=False)
    except ModelNotFoundError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("folders") / "data"
    yield folder
    stop_worker(folder)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "docs"
    (folder / "deep").mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.md").write_text(f"# Number {number}\n\nWhat there is to say about number {number}.\n")
    (folder / "deep" / "a.md").write_text("# Deep\n\nDown here it is dark.\n")
    return folder


def held(data: Path, store: str) -> tuple[int, int]:
    """How many documents and chunks a store holds, as the ledger says."""
    ledger = connect(data)
    try:
        stores = Stores(ledger)
        summary = stores.summary(stores.get(store)) if store in stores.names() else None
    finally:
        ledger.dispose()
    return (summary.documents, summary.chunks) if summary else (0, 0)


def test_sync_says_what_changed(data: Path, docs: Path) -> None:
    (docs / "\x1b[31mred.md").write_text("# Red\n\nA name that would colour the terminal.\n")
    first = quoth("sync", str(docs), "--store", "sync", data=data)
    assert first.returncode == 0, first.stderr
    assert "6 new, 0 changed, 0 moved, 0 deleted" in first.stdout
    assert f"new      {docs}/deep/a.md" in first.stdout
    assert "\x1b" not in first.stdout
    (docs / "0.md").write_text("# Other\n\nNow it is something else.\n")
    (docs / "1.md").rename(docs / "deep" / "one.md")
    (docs / "2.md").unlink()
    (docs / "5.md").write_text("# Five\n\nThere was none before.\n")
    (docs / "bad.pdf").write_bytes(b"%PDF-1.7 nothing")
    second = quoth("sync", str(docs), "--store", "sync", data=data)
    assert second.returncode == 4
    assert f"changed  {docs}/0.md" in second.stdout
    assert f"new      {docs}/5.md" in second.stdout
    assert f"removed  {docs}/2.md" in second.stdout
    assert f"{docs}/3.md" not in second.stdout
    assert "2 new, 1 changed, 1 moved, 1 deleted" in second.stdout
    (docs / "0.md").unlink()
    third = quoth("sync", "--store", "sync", data=data)
    assert "0 new, 0 changed, 0 moved, 1 deleted" in third.stdout
    removed = quoth("remove", str(docs / "deep"), "--store", "sync", data=data)
    assert "Removed 2 documents." in removed.stdout
    assert quoth("remove", str(docs / "nowhere"), "--store", "sync", data=data).returncode == 3


def test_jobs_wait_are_done_and_are_listed(data: Path, docs: Path) -> None:
    later = quoth("ingest", str(docs), "--store", "jobs", "--later", data=data)
    assert "waits" in later.stdout
    assert "waiting" in quoth("jobs", data=data).stdout
    done = quoth("jobs", "run", "--json", data=data)
    assert done.returncode == 0, done.stderr
    (job,) = json.loads(done.stdout)["jobs"]
    assert (job["store"], job["new"], job["failed"]) == ("jobs", 5, {})
    (docs / "bad.pdf").write_bytes(b"%PDF-1.7 nothing")
    assert quoth("ingest", str(docs), "--store", "jobs", data=data).returncode == 4
    listed = json.loads(quoth("jobs", "--json", data=data).stdout)["jobs"]
    latest, first = [each for each in listed if each["store"] == "jobs"]
    assert (first["id"], first["state"], latest["state"]) == (job["id"], "done", "done")
    shown = quoth("jobs", "show", latest["id"][:8], data=data).stdout
    assert "failed (corrupt)" in shown and f"{docs.as_uri()}/bad.pdf" in shown
    assert quoth("jobs", "show", "nothing", data=data).returncode == 3
    assert "No ingest waits." in quoth("jobs", "run", data=data).stdout


def test_ignored_files_are_not_counted_and_bad_rules_are_refused(data: Path, docs: Path) -> None:
    (docs / ".quothignore").write_text("deep/\n[13].md\n")
    done = quoth("ingest", str(docs), "--store", "ignore", "--json", data=data)
    assert json.loads(done.stdout)["found"] == 2
    (docs / ".quothignore").write_text("# fine\n[13.md\n")
    done = quoth("ingest", str(docs), "--store", "ignore", data=data)
    assert done.returncode == 2
    assert f"{docs}/.quothignore:2" in done.stderr
    assert held(data, "ignore")[0] == 2


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_watch_follows_a_folder_until_it_is_told_to_end(data: Path, docs: Path, end: signal.Signals) -> None:
    store = f"watch-{end.name.lower()}"
    process = start("watch", str(docs), "--store", store, "--json", data=data)
    assert process.stdout is not None

    def next_run(holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
            while selector.select(PATIENCE_SECONDS):
                line = process.stdout.readline()  # type: ignore[union-attr]
                assert line, process.communicate()[1]
                found: dict[str, Any] = json.loads(line)
                if holds(found):
                    return found
        raise AssertionError("the watch printed nothing")

    try:
        first = next_run(lambda run: True)
        assert (first["paths"], first["new"], first["found"]) == ([docs.as_uri()], 5, 5)
        (docs / "deep" / "b.md").write_text("# More\n\nDown here there is more.\n")
        assert next_run(lambda run: run["new"] == 1)["paths"] == [(docs / "deep").as_uri()]
        (docs / "3.md").unlink()
        assert next_run(lambda run: run["removed"] == 1)["paths"] == [docs.as_uri()]
        process.send_signal(end)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors) == (0, "")
    assert held(data, store)[0] == 5


def test_watch_says_what_it_cannot_do(data: Path, docs: Path) -> None:
    done = quoth("watch", str(docs / "gone"), data=data)
    assert done.returncode == 2
    assert "nothing to watch" in done.stderr


@pytest.mark.parametrize("reader", ["closed", "never reads", "hangs up"])
def test_nothing_is_lost_when_nobody_reads_what_is_printed(data: Path, docs: Path, reader: str) -> None:
    store = reader.replace(" ", "-")
    ours, theirs = pty.openpty() if reader == "hangs up" else os.pipe()
    if reader == "never reads":
        fill(theirs)
    else:
        os.close(ours)
    process = start("sync", str(docs), "--store", store, data=data, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        if reader == "never reads":
            wait_until(lambda: held(data, store) == (5, 5))
        else:
            process.wait(PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
    if reader == "never reads":
        os.close(ours)
    assert held(data, store) == (5, 5)
    again = json.loads(quoth("ingest", str(docs), "--store", store, "--json", data=data).stdout)
    assert (again["unchanged"], again["chunks"]) == (5, 5)


def fill(pipe: int) -> None:
    """Write as much as a pipe takes, so that the next to write waits for ever."""
    os.set_blocking(pipe, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(pipe, b"x")
    os.set_blocking(pipe, True)


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.05)
