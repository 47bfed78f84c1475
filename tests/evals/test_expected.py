"""What is promised is well-formed, is what the README says, and is judged strictly."""

import tomllib
from pathlib import Path

import pytest

from evals.expectations import ROOT, Expected, judge, main, read_expected
from evals.quality_table import BEGIN, COLUMNS, END, README, ROWS, table, with_table
from evals.systems import read_systems
from rag.errors import InvalidInputError

ONE = Expected("tiny", "quoth eval retrieval --dataset tiny", "ndcg@10", {"bm25": (0.5, 0.01)}, False)


def printed(score: float) -> dict[str, object]:
    return {"systems": [{"name": "bm25", "metrics": {"ndcg@10": score}}]}


def test_the_readme_shows_what_is_expected() -> None:
    text = README.read_text()
    assert with_table(text, table(read_expected())) == text, "run python -m evals.quality_table --write"


def test_every_file_names_a_command_that_can_be_run() -> None:
    found = read_expected()
    assert {"cranfield", "chunking_eval", "hotpotqa_train100"} <= {each.dataset for each in found}
    for each in found:
        words = each.command.split()
        assert words[:3] == ["quoth", "eval", "retrieval"], each
        assert words[words.index("--dataset") + 1].replace("/", "-") == each.dataset
        systems = read_systems([ROOT / word for word in words if word.endswith(".toml")])
        assert {system.name for system in systems} == set(each.scores), each.dataset
        assert each.dataset in COLUMNS
        assert set(each.scores) <= set(ROWS)
        for score, tolerance in each.scores.values():
            assert 0 < score < 1
            assert 0 < tolerance <= 0.01


def test_bm25_is_not_worse_than_the_reference() -> None:
    reference = tomllib.loads((ROOT / "evals" / "expected" / "reference.toml").read_text())["bm25s"]
    found = {each.dataset: each.scores["bm25"] for each in read_expected() if "bm25" in each.scores}
    for dataset, (score, _) in found.items():
        assert score >= reference[dataset] - 0.01, dataset


@pytest.mark.parametrize(
    ("score", "is_kept"), [(0.5, True), (0.509, True), (0.4905, True), (0.511, False), (0.48, False)]
)
def test_a_figure_is_kept_within_its_tolerance(score: float, is_kept: bool) -> None:
    (verdict,) = judge(ONE, printed(score))
    assert verdict.is_kept is is_kept
    assert str(verdict).startswith("OK" if is_kept else "FAIL")


def test_a_figure_that_is_not_printed_fails() -> None:
    (verdict,) = judge(ONE, {"systems": []})
    assert not verdict.is_kept
    assert "none" in str(verdict)


@pytest.mark.parametrize("text", ["", "[", "command: x\n", "command: x\nmetric: m\ntakes: ages\nscores: {}\n"])
def test_a_malformed_file_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(InvalidInputError, match="odd"):
        read_expected(tmp_path)


def test_a_text_without_marks_is_refused() -> None:
    assert with_table(f"a {BEGIN} old {END} b", "new") == f"a {BEGIN}\nnew\n{END} b"
    with pytest.raises(InvalidInputError, match="no place"):
        with_table("nothing", "new")


def test_a_command_that_fails_makes_the_check_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hotpotqa_train100", "--datasets", str(tmp_path)]) == 1
    assert "FAIL" in capsys.readouterr().out
