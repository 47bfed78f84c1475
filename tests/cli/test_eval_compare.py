"""`quoth eval compare|gate|tune|report` as people and builds call them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evals.records import EvalResult, SystemResult
from evals.results import write_result

ROOT = Path(__file__).parents[2]


def evaluate(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "eval", *arguments],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four results: `base`, the much worse `bad`, the equal `same`, and `other` of other data."""
    folder = tmp_path_factory.mktemp("results")
    for name, low, sha256 in (("base", 0.6, "a"), ("bad", 0.3, "a"), ("same", 0.6, "a"), ("other", 0.6, "b")):
        values = {f"q{n}": low + 0.1 * (n % 4) for n in range(40)}
        system = SystemResult(name, {}, {}, {"ndcg@10": low + 0.15}, {}, {"ndcg@10": values})
        questions = {query: f"What is \x1b[31m{query}?" for query in values}
        write_result(
            EvalResult("retrieval", "made", sha256, 40, (system,), questions=questions), folder / f"{name}.json"
        )
    return folder


def as_json(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_compare_says_who_is_better_and_shows_questions(folder: Path) -> None:
    done = evaluate("compare", "base.json", "bad.json", "--show", "2", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "nDCG@10 is .450 with bad and .750 with base on 40 questions" in done.stdout
    assert "bad is worse." in done.stdout
    assert done.stdout.count("−.300   ") == 2
    assert "\x1b" not in done.stdout
    found = as_json(evaluate("compare", "base.json", "bad.json", "--json", folder=folder))
    assert found["difference"] == pytest.approx(-0.3)
    assert found["is_decided"] is True
    assert len(found["fell"]) == 5


def test_compare_refuses_what_cannot_be_compared(folder: Path) -> None:
    for arguments, said in (
        (["base.json", "other.json"], "cannot be compared"),
        (["base.json"], "one system only"),
        (["base.json", "none.json"], "none.json cannot be read"),
        (["base.json", "bad.json", "--metric", "map"], "no map per question"),
    ):
        done = evaluate("compare", *arguments, folder=folder)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr


def test_gate_exits_with_1_on_a_loss_only(folder: Path) -> None:
    bad = evaluate("gate", "--baseline", "base.json", "--candidate", "bad.json", folder=folder)
    assert bad.returncode == 1
    assert bad.stdout.startswith("FAIL: nDCG@10 fell from .750 to .450 on 40 questions")
    assert not bad.stderr
    shown = evaluate("gate", "--baseline", "base.json", "--candidate", "bad.json", "--json", folder=folder)
    assert (shown.returncode, as_json(shown)["has_passed"]) == (1, False)
    for name in ("same", "base"):
        done = evaluate("gate", "--baseline", "base.json", "--candidate", f"{name}.json", folder=folder)
        assert (done.returncode, done.stdout[:5]) == (0, "PASS:"), done.stderr
    wide = evaluate("gate", "--baseline", "base.json", "--candidate", "bad.json", "--margin", "0.4", folder=folder)
    assert wide.returncode == 0
    assert evaluate("gate", "--baseline", "base.json", "--candidate", "other.json", folder=folder).returncode == 2


def test_gate_refuses_data_that_have_changed(folder: Path) -> None:
    data = folder / "made"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "Some text."}\n')
    (data / "queries.jsonl").write_text('{"_id": "q0", "text": "Which text?"}\n')
    (data / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td\t1\n")
    done = evaluate("gate", "--baseline", "base.json", "--dataset", "made", folder=folder)
    assert done.returncode == 2
    assert "not the data that the baseline was measured on" in done.stderr


def test_report_writes_three_files(folder: Path) -> None:
    done = evaluate("report", "base.json", "bad.json", "--out", "r.html", "--json", folder=folder)
    assert as_json(done) == {"html": "r.html", "markdown": "r.md", "json": "r.json"}
    assert "bad against base" in (folder / "r.html").read_text().replace('<bdi dir="auto">', "").replace("</bdi>", "")
    assert "nDCG@10" in (folder / "r.md").read_text()
    assert len(json.loads((folder / "r.json").read_text())["results"]) == 2


def test_tune_refuses_a_space_that_does_not_fit(folder: Path) -> None:
    (folder / "space.toml").write_text("[retrieval]\nweight = [1]\n")
    data = folder / "tiny"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "Some text."}\n')
    (data / "queries.jsonl").write_text('{"_id": "q0", "text": "Which text?"}\n')
    (data / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td\t1\n")
    done = evaluate("tune", "--dataset", "tiny", "--space", "space.toml", folder=folder)
    assert done.returncode == 2
    assert "no setting retrieval.weight" in done.stderr
