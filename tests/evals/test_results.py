"""Results come back from a file exactly as they went in."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.records import Comparison, EvalResult, SystemResult
from evals.results import from_json, read_result, to_json, write_result
from rag.errors import InvalidInputError

SYSTEM = SystemResult(
    name="default", settings={"retrieval": {"k": 9}}, fingerprint={"model": "m", "dimension": 4},
    metrics={"ndcg@10": 0.1 + 0.2}, intervals={"ndcg@10": (0.1, 1 / 3)}, per_query={"ndcg@10": {"q1": 0.1 + 0.2}},
    latency_ms={"p50": 1.5, "queries": 1}, run={"q1": {"d1": 0.7}, "q2": {}}, index={"chunks": 3},
)  # fmt: skip
RESULT = EvalResult(
    kind="retrieval", dataset="tiny", dataset_sha256="ab", queries=2, systems=(SYSTEM, replace(SYSTEM, name="b")),
    comparisons=(Comparison("ndcg@10", "default", "b", -0.1, (-0.2, 0.0), 0.04, 0.08, None),),
    provenance={"seed": 0, "machine": {"cores": 2}}, questions={"q1": "Wer zahlt für Züge?"},
)  # fmt: skip


def through_text(result: EvalResult) -> EvalResult:
    return from_json(json.loads(json.dumps(to_json(result))))


def test_a_result_comes_back_whole(tmp_path: Path) -> None:
    assert through_text(RESULT) == RESULT
    write_result(RESULT, tmp_path / "a.json", with_run=True)
    assert read_result(tmp_path / "a.json") == RESULT


def test_what_was_found_is_left_out_unless_it_is_wanted(tmp_path: Path) -> None:
    write_result(RESULT, tmp_path / "a.json")
    without = tuple(replace(system, run={}) for system in RESULT.systems)
    assert read_result(tmp_path / "a.json") == replace(RESULT, systems=without)


@given(st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False), max_size=5))
def test_every_number_keeps_its_digits(values: dict[str, float]) -> None:
    result = replace(RESULT, systems=(replace(SYSTEM, per_query={"m": values}, run={"q": values}),))
    assert through_text(result) == result


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "quoth-eval-1"}', '{"format": "quoth-eval-1", "systems": [1]}']
)
def test_a_file_that_holds_no_result_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(InvalidInputError, match=r"bad\.json"):
        read_result(tmp_path / "bad.json")


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"absent\.json"):
        read_result(tmp_path / "absent.json")
    with pytest.raises(InvalidInputError, match="nowhere"):
        write_result(RESULT, tmp_path / "nowhere" / "a.json")
