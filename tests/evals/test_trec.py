"""Runs and judgements in files that other tools read."""

from pathlib import Path

import pytest
import pytrec_eval

from evals.metrics import evaluate
from evals.trec import read_qrels, read_run, write_qrels, write_run, written_id
from rag.errors import InvalidInputError

RUN = {"q1": {"a": 0.1 + 0.2, "b": 1e-17, "c": -2.0}, "q2": {"https://host/x%20y#part": 1.0, "a": 1.0}}
QRELS = {"q1": {"a": 1, "c": 0}, "q2": {"a": 3}, "q3": {"b": -1}}


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    write_run(tmp_path / "run", RUN | {"empty": {}}, "my system")
    assert read_run(tmp_path / "run") == RUN
    lines = (tmp_path / "run").read_text().splitlines()
    assert lines[0] == "q1 Q0 a 1 0.30000000000000004 my%20system"
    assert [line.split()[2:4] for line in lines[3:]] == [["https://host/x%20y#part", "1"], ["a", "2"]]


def test_judgements_come_back_as_they_were(tmp_path: Path) -> None:
    write_qrels(tmp_path / "qrels", QRELS)
    assert read_qrels(tmp_path / "qrels") == QRELS


def test_another_tool_scores_the_files_alike(tmp_path: Path) -> None:
    run = {"q 1": {"leave policy.md": 1.0, "b": 2.0, "c": 1.0}, "q2": {"a": 1.0}}
    qrels = {"q 1": {"leave policy.md": 2, "c": 1}, "q2": {"b": 1}}
    write_run(tmp_path / "run", run, "ours")
    write_qrels(tmp_path / "qrels", qrels)
    with (tmp_path / "run").open() as run_file, (tmp_path / "qrels").open() as qrels_file:
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(qrels_file), {"ndcg_cut.10"})
        theirs = evaluator.evaluate(pytrec_eval.parse_run(run_file))
    ours = evaluate(run, qrels, ["ndcg@10"])["ndcg@10"]
    assert {query: value["ndcg_cut_10"] for query, value in theirs.items()} == pytest.approx(
        {written_id(query): value for query, value in ours.items()}
    )
    assert 0 < ours["q 1"] < 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("q Q0 d 1 0.5", "6 columns are expected"),
        ("q Q0 my file 1 0.5 tag", "6 columns are expected"),
        ("q Q0 d 1 high tag", "'high' is not a finite number"),
        ("q Q0 d 1 nan tag", "'nan' is not a finite number"),
        ("q Q0 first 1 0.5 tag", "'first' stands there twice"),
    ],
)
def test_a_bad_line_of_a_run_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "run"
    path.write_text(f"q Q0 first 1 1 tag\r\n\r\n{line}\n")
    with pytest.raises(InvalidInputError, match=rf"run, line 3: .*{problem}"):
        read_run(path)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("q 0 d", "4 columns are expected"),
        ("q 0 d 0.5", "must be a whole number"),
        ("q 0 d yes", "'yes' is not a finite number"),
        ("q 0 first 2", "'first' stands there twice"),
    ],
)
def test_a_bad_line_of_judgements_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "qrels"
    path.write_text(f"q 0 first 1\n{line}\n")
    with pytest.raises(InvalidInputError, match=rf"qrels, line 2: .*{problem}"):
        read_qrels(path)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="both written as 'a%20b'"):
        write_run(tmp_path / "run", {"q": {"a b": 1.0, "a%20b": 2.0}}, "tag")
    with pytest.raises(InvalidInputError, match="An id is empty"):
        write_qrels(tmp_path / "qrels", {"q": {"": 1}})
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_run(tmp_path / "absent")
