"""Real folders and hostile files, whole: every file has an outcome, and the machine is as it was."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rag.backends.vectors.edge_process import stop_worker

ROOT = Path(__file__).parents[2]

# What people would call read: of each of these, most files must have text.
READ = (
    ".md .rst .html .pdf .docx .pptx .xlsx .csv .txt .odt .asciidoc .msg .jsonl .xls .odp .epub .eml .doc .rtf .ppt "
    ".ods .json .ipynb .xml"
).split()


def observed(data: Path, *docs: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.ingest.observed_ingest", str(data), *map(str, docs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)
    stop_worker(data)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(found: dict[str, Any]) -> dict[str, Any]:
    """What holds of every folder; returns the summary."""
    summary: dict[str, Any] = found["summary"]
    refused = sum(summary["skipped"].values()) + sum(summary["failed"].values())
    assert summary["found"] == summary["indexed"] + refused > 0
    assert len(found["refusals"]) == refused
    assert all(reason and message for _, _, reason, message in found["refusals"])
    assert "internal" not in summary["failed"]
    assert found["connections"] == []
    assert found["written"] == []
    assert found["peak_mb"]["own"] < 500
    assert found["peak_mb"]["child"] < 1024
    return summary


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.mark.long
def test_hostile_files_cost_themselves_and_nothing_else(collections: Path, tmp_path: Path) -> None:
    hostile, good = collections / "hostile", tmp_path / "good"
    good.mkdir()
    (good / "one.md").write_text("# One\n\nA good file.\n")
    (good / "two.txt").write_text("Another good file.\n")
    before = state_of(hostile)
    found = observed(tmp_path / "data", hostile, good)
    summary = check(found)
    print(json.dumps({**summary, "peak_mb": found["peak_mb"]}))  # noqa: T201
    assert not any(uri.startswith(good.as_uri()) for uri, *_ in found["refusals"])
    assert state_of(hostile) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "good"]


@pytest.mark.long
def test_real_folders_are_read(collections: Path, tmp_path: Path) -> None:
    folders = collections / "folders"
    found = observed(tmp_path / "data", folders)
    summary = check(found)
    print(json.dumps({**summary, "peak_mb": found["peak_mb"]}))  # noqa: T201
    there = Counter(path.suffix.lower() for path in folders.rglob("*") if path.is_file())
    refused = Counter(Path(uri).suffix.lower() for uri, *_ in found["refusals"])
    for suffix in READ:
        assert refused[suffix] <= there[suffix] // 2, suffix
    unread = {Path(uri).suffix.lower() for uri, _, reason, _ in found["refusals"] if reason == "unsupported"}
    assert unread == {".svg", ".zip"}
