"""Metrics against pytrec_eval's, and where we differ on purpose."""

import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.metrics import check_metrics, evaluate, mean, ranked
from evals.records import Qrels, Run
from rag.errors import InvalidInputError

CUTOFFS = (1, 2, 3, 5, 10, 1000)
THEIRS = {"ndcg": "ndcg_cut", "recall": "recall", "precision": "P", "success": "success", "map": "map_cut"}
NAMES = [f"{name}@{cutoff}" for name in THEIRS for cutoff in CUTOFFS]
IDS = st.sampled_from([*"abcdefghijk", "10", "9", "B", "é", "日", "\U0001f600", "a b"])
SCORES = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0, -1.0]),  # many ties
    st.floats(-1e6, 1e6),
    st.sampled_from([0.1 + step * 1e-12 for step in range(5)]),  # ties in single precision alone
)


def theirs(run: Run, qrels: Qrels) -> dict[str, dict[str, float]]:
    """pytrec_eval's values, named as ours. It has no MRR@k, so that is its reciprocal rank of the k best."""
    measures = {f"{name}.{','.join(map(str, CUTOFFS))}" for name in THEIRS.values()} | {"map", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    named = {f"{name}@{cut}": f"{their}_{cut}" for name, their in THEIRS.items() for cut in CUTOFFS}
    named |= {"map": "map", "mrr": "recip_rank"}
    return {name: {query: values[their] for query, values in found.items()} for name, their in named.items()}


RUNS = st.dictionaries(st.sampled_from("pqrst"), st.dictionaries(IDS, SCORES, max_size=15), max_size=5)


def judgements(least: int) -> st.SearchStrategy[dict[str, dict[str, int]]]:
    return st.dictionaries(
        st.sampled_from("pqrst"), st.dictionaries(IDS, st.integers(least, 4), min_size=1), max_size=5
    )


@settings(max_examples=300, deadline=None)
@given(RUNS, judgements(-1))  # pytrec_eval reads beyond its memory, and may die, where a grade is below -1
def test_values_are_those_of_pytrec_eval(run: Run, qrels: Qrels) -> None:
    ours = evaluate(run, qrels, [*NAMES, "map", "mrr"])
    expected = theirs(run, qrels)
    judged = {query for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    for name, values in ours.items():
        assert values.keys() == judged
        for query, value in values.items():
            assert value == pytest.approx(expected[name].get(query, 0.0), abs=1e-6), (name, query)


@given(RUNS, judgements(-9))
def test_every_grade_below_one_counts_as_none(run: Run, qrels: Qrels) -> None:
    raised = {query: {name: max(0, grade) for name, grade in grades.items()} for query, grades in qrels.items()}
    removed = {query: {name: grade for name, grade in grades.items() if grade > 0} for query, grades in qrels.items()}
    names = [*NAMES, "map", "mrr"]
    assert evaluate(run, qrels, names) == evaluate(run, raised, names) == evaluate(run, removed, names)


def test_values_of_large_runs_are_those_of_pytrec_eval() -> None:
    draw = np.random.default_rng(0)
    documents = [f"doc{number}" for number in range(3000)]
    run = {
        f"q{query}": {documents[at]: float(draw.integers(200)) / 7 for at in draw.choice(3000, 1500, replace=False)}
        for query in range(20)
    }
    qrels = {
        f"q{query}": {documents[at]: int(draw.integers(4)) for at in draw.choice(3000, 100, replace=False)}
        for query in range(20)
    }
    ours, expected = evaluate(run, qrels, [*NAMES, "map", "mrr"]), theirs(run, qrels)
    for name, values in ours.items():
        assert values == pytest.approx(expected[name], abs=1e-6), name


@pytest.mark.parametrize("cutoff", [1, 2, 3, 5])
def test_mrr_at_k_is_the_reciprocal_rank_of_the_k_best(cutoff: int) -> None:
    draw = np.random.default_rng(cutoff)
    documents = [f"d{number}" for number in range(12)]
    run = {f"q{query}": dict(zip(documents, draw.permutation(12).tolist(), strict=True)) for query in range(50)}
    qrels = {f"q{query}": {documents[draw.integers(12)]: 1} for query in range(50)}
    best = {
        query: {document: float(found[document]) for document in ranked(found)[:cutoff]} for query, found in run.items()
    }
    expected = theirs(best, qrels)["mrr"]
    ours = evaluate(run, qrels, [f"mrr@{cutoff}"])[f"mrr@{cutoff}"]
    assert ours == pytest.approx(expected, abs=1e-6)
    assert 0 < mean(ours) < 1


def test_hand_values() -> None:
    values = evaluate(
        {"q": {"a": 3, "b": 2, "c": 1}}, {"q": {"b": 1, "c": 2, "d": 1}}, ["ndcg@3", "recall@2", "mrr@1", "mrr", "map"]
    )
    ideal = 2 + 1 / math.log2(3) + 0.5
    assert values["ndcg@3"]["q"] == pytest.approx((1 / math.log2(3) + 2 * 0.5) / ideal)
    assert values["recall@2"]["q"] == pytest.approx(1 / 3)
    assert values["mrr@1"]["q"] == 0
    assert values["mrr"]["q"] == 0.5
    assert values["map"]["q"] == pytest.approx((1 / 2 + 2 / 3) / 3)


def test_a_judged_query_without_result_counts_zero() -> None:
    run = {"found": {"a": 1.0}, "empty": {}, "not judged": {"a": 1.0}}
    qrels = {"found": {"a": 1}, "empty": {"a": 1}, "missing": {"a": 1}, "nothing relevant": {"a": 0, "b": -1}}
    values = evaluate(run, qrels, ["ndcg@10"])["ndcg@10"]
    assert values == {"found": 1.0, "empty": 0.0, "missing": 0.0}
    assert mean(values) == pytest.approx(1 / 3)
    assert mean({}) == 0


def test_ties_go_to_the_greater_id() -> None:
    assert ranked({"a": 1.0, "c": 1.0, "b": 1.0 + 1e-12, "d": 0.0}) == ["c", "b", "a", "d"]
    assert ranked({"a": 1e300, "b": -1e300, "c": math.inf}) == ["c", "a", "b"]


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "ndcg@", "ndcg@1.5", "NDCG@10", "recall", "f1@3", "ndcg@10 ", ""])
def test_unknown_metrics_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="There are ndcg@K"):
        check_metrics([name])
    with pytest.raises(InvalidInputError, match="There are ndcg@K"):
        evaluate({}, {}, ["map", name])


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'b' is not a number"):
        evaluate({"q": {"a": 1.0, "b": math.nan}}, {"q": {"a": 1}}, ["map"])
