"""Two results side by side: made figures, so that every number is known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from evals.compare import as_json, entrants, side_by_side
from evals.figures import chance, is_lower_better, metric_name, score, signed
from evals.records import EvalResult, SystemResult
from evals.results import read_result, write_result
from rag.errors import InvalidInputError


def result(
    values: Mapping[str, Sequence[float]] | Mapping[str, Mapping[str, float]],
    *,
    sha256: str = "a" * 64,
    kind: str = "retrieval",
    metric: str = "ndcg@10",
    **more: Any,
) -> EvalResult:
    """Systems with these values by question: `q000`, `q001`, ... where no ids are given."""
    systems = []
    for name, found in values.items():
        by_query = dict(found) if isinstance(found, Mapping) else {f"q{i:03}": v for i, v in enumerate(found)}
        mean = sum(by_query.values()) / len(by_query)
        systems.append(
            SystemResult(name=name, settings={}, fingerprint={}, metrics={metric: mean}, intervals={},
                         per_query={metric: by_query})
        )  # fmt: skip
    ids = sorted({query for system in systems for query in system.per_query[metric]})
    questions = {query: f"Question {query}?" for query in ids}
    return EvalResult(kind, "made", sha256, len(ids), tuple(systems), questions=questions, **more)


def test_the_difference_and_what_changed_most() -> None:
    a = {"q0": 0.5, "q1": 0.2, "q2": 1.0, "q3": 0.0}
    b = {"q0": 0.5, "q1": 0.9, "q2": 0.1, "q3": 0.4}
    (pair,) = side_by_side(entrants([("one", result({"before": a})), ("two", result({"after": b}))]))
    assert (pair.a, pair.b, pair.metric) == ("before", "after", "ndcg@10")
    assert pair.mean_a == pytest.approx(0.425)
    assert pair.mean_b == pytest.approx(0.475)
    assert pair.comparison.difference == pytest.approx(0.05)
    assert [change.query for change in pair.changes] == ["q2", "q0", "q3", "q1"]
    assert [change.query for change in pair.worst(3)] == ["q2"], "a question that did not fall is none that fell"
    assert [change.query for change in pair.best(10)] == ["q1", "q3"]
    assert pair.best(1)[0].question == "Question q1?"


def test_three_differences_of_one_sign_cannot_be_decided_and_ten_are() -> None:
    # Of three swaps all agree in 2 of 8, so p is .25; of ten in 2 of 1,024.
    few, many = ((result({"a": [0.0] * n}), result({"b": [1.0] * n})) for n in (3, 10))
    (undecided,) = side_by_side(entrants([("a", few[0]), ("b", few[1])]))
    assert undecided.comparison.p == pytest.approx(0.25)
    assert not undecided.is_decided
    assert undecided.comparison.queries_needed
    assert f"about {undecided.comparison.queries_needed} questions would decide it" in undecided.verdict()
    (decided,) = side_by_side(entrants([("a", many[0]), ("b", many[1])]))
    assert decided.comparison.p == pytest.approx(2 / 1024)
    assert decided.is_decided
    assert decided.verdict().endswith("(95 % interval +1.000 to +1.000, p = .002): b is better.")


def test_less_risk_is_better() -> None:
    low, high = (result({name: [v] * 10}, metric="risk") for name, v in (("calm", 0.1), ("wild", 0.9)))
    (pair,) = side_by_side(entrants([("x", high), ("y", low)]))
    assert pair.verdict().endswith("calm is better.")


def test_questions_of_one_system_only_are_counted_and_left_out() -> None:
    a = result({"a": {"x": 1.0, "y": 0.0, "z": 1.0}})
    b = result({"b": {"y": 1.0, "z": 1.0, "v": 0.0, "w": 0.0}})
    (pair,) = side_by_side(entrants([("a", a), ("b", b)]))
    assert (pair.only_a, pair.only_b, len(pair.changes)) == (1, 2, 2)
    assert (pair.mean_a, pair.mean_b) == (0.5, 1.0)
    assert as_json(pair)["only_b"] == 2


def test_results_of_other_data_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="one is retrieval on made"):
        entrants([("a", result({"a": [1]})), ("b", result({"b": [1]}, sha256="b" * 64))])
    with pytest.raises(InvalidInputError, match="share no question"):
        side_by_side(entrants([("a", result({"a": {"x": 1.0}})), ("b", result({"b": {"y": 1.0}}))]))


def test_a_metric_that_was_not_measured_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"no map per question. It has: ndcg@10"):
        side_by_side(entrants([("a", result({"a": [1], "b": [1]}))]), "map")


def test_systems_of_one_name_are_told_apart_by_their_file() -> None:
    found = entrants([("old", result({"default": [1]})), ("new", result({"default": [1], "other": [0]}))])
    assert [entrant.label for entrant in found] == ["default (old)", "default (new)", "other"]
    same = entrants([("x", result({"default": [1]})), ("x", result({"default": [0]}))])
    assert len({entrant.label for entrant in same}) == 2


def test_several_systems_are_each_compared_with_the_first_under_holm() -> None:
    systems = {"base": [0.0] * 8, "good": [1.0] * 8, "odd": [0.0, 1.0] * 4}
    pairs = side_by_side(entrants([("all", result(systems))]))
    assert [(pair.a, pair.b) for pair in pairs] == [("base", "good"), ("base", "odd")]
    for pair in pairs:
        assert pair.comparison.p_adjusted > pair.comparison.p


def test_a_result_goes_through_a_file_unchanged(tmp_path: Path) -> None:
    one = result({"a": [0.1, 0.7]}, provenance={"seed": 0})
    write_result(one, tmp_path / "one.json")
    other = ("b", result({"b": [1, 0]}))
    before, after = (side_by_side(entrants([("a", each), other])) for each in (one, read_result(tmp_path / "one.json")))
    assert before == after


def test_figures_as_people_write_them() -> None:
    assert [score(value) for value in (0.5124, 1, 0, -0.0411, -0.0001, 512.04)] == [
        ".512", "1.000", ".000", "−.041", ".000", "512.0",
    ]  # fmt: skip
    assert [signed(value) for value in (0.041, -0.041, 0.0, 0.0004)] == ["+.041", "−.041", ".000", ".000"]
    assert (chance(0.0004), chance(0.25)) == ("p < .001", "p = .250")
    assert [metric_name(name) for name in ("ndcg@10", "map", "span_iou")] == ["nDCG@10", "MAP", "Span iou"]
    assert is_lower_better("aurc")
    assert not is_lower_better("recall@10")
