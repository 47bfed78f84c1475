"""The runner of the comparison with peers: what it draws, measures, keeps and prints, with a peer of the tests' own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.peers.__main__ import copy_markdown, questions
from benchmarks.peers.figures import Row, tables
from benchmarks.peers.processes import descendants

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LEFT_MB = 120  # as words_peer has it


def write_data(folder: Path) -> None:
    docs, mini = folder / "folders" / "fastapi_docs", folder / "retrieval" / "mini"
    docs.mkdir(parents=True)
    (docs / "one.md").write_text("# How to declare things\n\nDeclare a request body so.\n\n## Another long heading\n")
    (docs / "two.md").write_text("# The second heading of all\n\nNothing of that.\n")
    (docs / "three.txt").write_text("no Markdown")
    (mini / "qrels").mkdir(parents=True)
    rows = [{"_id": "a", "title": "Wings", "text": "of a plane"}, {"_id": "b", "title": "", "text": "some heat flow"}]
    (mini / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"_id": "1", "text": "which wings"}, {"_id": "2", "text": "which plane"}, {"_id": "3", "text": "unjudged"}]
    (mini / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (mini / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n2\tb\t2\n")


def run(tmp_path: Path, script: Path) -> tuple[list[Row], str]:
    command = [sys.executable, "-m", "benchmarks.peers", "--peers-root", str(tmp_path), "--only", "Mine"]
    command += ["--peer", f"Mine={sys.executable}:{script}", "--data", str(tmp_path / "data"), "--sets", "mini"]
    command += ["--rounds", "1", "--out", str(tmp_path / "out.jsonl")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()], done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the runner reads /proc")
def test_a_run_measures_every_stage_and_is_not_repeated(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    rows, printed = run(tmp_path, HERE / "words_peer.py")
    by_stage = {row["stage"]: row for row in rows}
    assert set(by_stage) == {"ingest", "again", "query", "collect"}
    assert not [row["error"] for row in rows if row["error"]]
    assert by_stage["ingest"]["chunks"] == 2  # the Markdown files alone
    assert by_stage["ingest"]["peak_mb"] > LEFT_MB  # what was left behind counts
    assert by_stage["query"]["first_hit_s"] > 0
    assert by_stage["query"]["dense_p95"] >= by_stage["query"]["dense_p50"] > 0
    # the first question finds its document, the second only one that is not relevant, the third is not judged
    assert by_stage["collect"]["ways"]["bm25"]["ndcg@10"] == pytest.approx(0.5)
    assert "0.500 / 0.500" in printed
    again, _ = run(tmp_path, HERE / "words_peer.py")
    assert again == rows


@pytest.mark.skipif(sys.platform != "linux", reason="the runner reads /proc")
def test_a_peer_that_breaks_is_a_row_with_its_last_words(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no such id exists')")
    rows, printed = run(tmp_path, broken)
    assert {row["error"] for row in rows} == {"exit code 1: no such id exists"}
    assert "(fails)" in printed


def test_questions_are_spread_over_the_headings(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.md").write_text(
            "".join(f"## Heading number {number}{part}\n" for part in "abc") + "# x\n"
        )
    drawn = questions(tmp_path, 4)
    assert drawn == [f"How do I use heading number {number}a?" for number in range(4)]


def test_copies_keep_their_times(tmp_path: Path) -> None:
    source = tmp_path / "from"
    (source / "below").mkdir(parents=True)
    for name in ("a.md", "below/b.md", "c.txt"):
        (source / name).write_text(name)
    os.utime(source / "a.md", ns=(10**18, 10**18))
    assert copy_markdown(source, tmp_path / "to", 100) == 2
    assert (tmp_path / "to" / "a.md").stat().st_mtime_ns == 10**18
    assert not (tmp_path / "to" / "c.txt").exists()


def test_ratios_are_of_one_round_and_failures_are_told() -> None:
    walls = {"Quoth": (10.0, 20.0, 21.0), "Slow": (30.0, 50.0, 84.0)}
    rows: list[Row] = [
        {"system": system, "stage": "ingest", "round": number, "wall_s": wall, "cpu_s": wall, "error": "", "chunks": 3}
        for system, values in walls.items()
        for number, wall in enumerate(values)
    ]
    rows.append({"system": "Slow", "stage": "again", "round": 0, "wall_s": 7.0, "error": "exit code 1: id exists"})
    shown = tables(rows)
    assert "* ingest, times Quoth: Slow 3.00" in shown  # of 3.0, 2.5 and 4.0; the ratio of medians would be 2.5
    assert "| Slow | 50.0 | 50.0 | 3 | - | - | 7.0 (fails) |" in shown


@pytest.mark.skipif(sys.platform != "linux", reason="the runner reads /proc")
def test_descendants_are_found_below_children() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while len(found := descendants(process.pid)) < 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert found[0] in descendants(os.getpid())
    finally:
        os.killpg(process.pid, 9)
        process.wait()
