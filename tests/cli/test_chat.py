"""`quoth chat` and `quoth feedback`, as a person uses them: real engine, real embedder."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.backends.vectors.edge_process import stop_worker
from rag.ledger.connection import connect
from rag.ledger.conversations import Conversations
from rag.models import list_models
from rag.settings import load_settings

ROOT = Path(__file__).parents[2]
EMBEDDER = "BAAI/bge-small-en-v1.5"


def quoth(*arguments: str, data: Path, typed: str = "") -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QUOTH_")}
    models = {"QUOTH_MODELS_DIR": os.environ["QUOTH_MODELS_DIR"]} if "QUOTH_MODELS_DIR" in os.environ else {}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=data.parent,
        env={**clean, **models, "PYTHONPATH": str(ROOT), "QUOTH_DATA_DIR": str(data)},
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    if EMBEDDER not in {model.name for model in list_models(load_settings().models_dir) if model.present}:
        pytest.skip(f"{EMBEDDER} is not in the models folder: make setup")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "leave.md").write_text(
        "# Leave\n\nEvery employee has 28 days of leave a year.\n\n# Dogs\n\nDogs may come on Fridays.\n"
    )
    assert quoth("ingest", str(tmp_path / "docs"), data=tmp_path / "data").returncode == 0
    yield tmp_path / "data"
    stop_worker(tmp_path / "data")


def talks(data: Path) -> list[list[str]]:
    """What people said, conversation by conversation, the latest first."""
    ledger = connect(data)
    known = Conversations(ledger)
    found = [known.messages(conversation.id, -1, 100)[0] for conversation in known.page(100)[0]]
    ledger.dispose()
    return [[message.content for message in messages if message.role == "user"] for messages in found]


def test_a_chat_is_kept_gone_on_with_rated_and_exported(data: Path) -> None:
    first = quoth("chat", data=data, typed="How many days of leave are there?\n/up just so\n\n")
    assert first.returncode == 0, first.stderr
    assert "28 days" in first.stdout
    assert "Thank you" in first.stdout
    kept = re.search(r"Kept as (\w{8})", first.stdout)
    assert kept is not None
    assert quoth("chat", "--continue", data=data, typed="and for dogs?\n").returncode == 0
    assert quoth("chat", "--no-save", data=data, typed="May dogs come?\n/down\n").returncode == 0
    assert talks(data) == [["How many days of leave are there?", "and for dogs?"]]
    by_id = quoth("chat", "--continue", kept[1], data=data, typed="When may dogs come?\n/down no\n")
    assert f"Going on with {kept[1]}" in by_id.stdout
    assert len(talks(data)[0]) == 3

    done = quoth("feedback", "export", "--out", "cases.jsonl", data=data)
    assert (done.returncode, "2 cases, 1 of them to be reviewed" in done.stderr) == (0, True)
    lines = (data.parent / "cases.jsonl").read_text()
    assert [json.loads(line)["review"] for line in lines.splitlines()] == ["", "drop"]
    assert quoth("feedback", "export", data=data).stdout == lines
    measured = quoth("eval", "answers", "--cases", "cases.jsonl", "--json", data=data)
    assert measured.returncode == 0, measured.stderr


def test_what_cannot_be_gone_on_with_is_said(data: Path) -> None:
    for arguments, code, message in [
        (("chat", "--continue"), 3, "quoth chat begins one"),
        (("chat", "--continue", "nope"), 3, "has an id like 'nope'"),
        (("chat", "nope"), 2, "--continue [ID]"),
        (("chat", "--continue", "--no-save"), 2, "--no-save"),
        (("chat", "--store", "nope"), 3, "no store named 'nope'"),
        (("feedback", "export", "--store", "nope"), 3, "no store named 'nope'"),
    ]:
        done = quoth(*arguments, data=data, typed="Anything?\n")
        assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert talks(data) == []
