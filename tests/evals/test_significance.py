"""Tests of significance: their errors on simulated data, and their values against enumeration by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evals.significance import (
    bootstrap_difference,
    bootstrap_interval,
    compare,
    holm,
    paired_randomisation,
    queries_needed,
)
from rag.errors import InvalidInputError

Values = NDArray[np.float64]


def enumerated(differences: list[float]) -> float:
    """p over every way to turn signs, one by one."""
    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * one for sign, one in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    return sum(one >= observed - 1e-9 for one in sums) / len(sums)


def drawn(draw: np.random.Generator, queries: int, gain: float = 0.0) -> tuple[Values, Values]:
    """Two systems on the same queries: some queries are harder, and many values of both are equal."""
    hard = draw.uniform(size=queries)
    a = np.round(np.clip(hard + draw.normal(0, 0.3, queries), 0, 1), 1)
    return a, np.round(np.clip(hard + draw.normal(0, 0.3, queries) + gain, 0, 1), 1)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.sampled_from([-0.5, -0.25, 0.0, 0.125, 0.5, 1.0]) | st.integers(-1000, 1000).map(lambda n: n / 1000),
        min_size=1,
        max_size=10,
    )
)
def test_p_of_few_queries_is_exact(differences: list[float]) -> None:
    b = np.array(differences)
    assert paired_randomisation(np.zeros(len(b)), b) == pytest.approx(enumerated(differences))


def test_p_of_many_queries_is_near_the_exact_one() -> None:
    b = np.array([0.1, 0.4, -0.2, 0.3, 0.05, -0.1, 0.25, 0.3, -0.05, 0.2, 0.15, -0.3])
    exact = paired_randomisation(np.zeros(12), b)
    sampled = paired_randomisation(np.zeros(12), b, rounds=2_000, seed=1)
    assert exact == pytest.approx(enumerated(b.tolist()))
    assert 0.02 < exact < 0.3
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=0.02)
    assert sampled == paired_randomisation(np.zeros(12), b, rounds=2_000, seed=1)


def test_p_is_never_zero() -> None:
    assert paired_randomisation(np.zeros(100), np.ones(100), rounds=499) == 1 / 500
    assert paired_randomisation(np.zeros(8), np.ones(8)) == 2 / 2**8


def test_p_does_not_depend_on_the_order_of_the_systems() -> None:
    a, b = drawn(np.random.default_rng(3), 60)
    assert paired_randomisation(a, b) == paired_randomisation(b, a)
    assert paired_randomisation(a, a) == 1.0


def test_false_alarms_are_as_rare_as_promised() -> None:
    draw = np.random.default_rng(20)
    trials = 1_000
    for queries in (10, 80):
        alarms = sum(paired_randomisation(*drawn(draw, queries), rounds=600, seed=n) <= 0.05 for n in range(trials))
        assert 0.035 <= alarms / trials <= 0.065, queries


def test_a_planted_difference_is_found_as_often_as_predicted() -> None:
    draw = np.random.default_rng(5)
    many = drawn(draw, 20_000, gain=0.06)
    needed = queries_needed(*many)
    assert needed is not None
    assert 100 < needed < 500
    found = sum(paired_randomisation(*drawn(draw, needed, gain=0.06), rounds=600, seed=n) <= 0.05 for n in range(300))
    assert found / 300 == pytest.approx(0.8, abs=0.06)


def test_many_queries_take_little_memory() -> None:
    import tracemalloc

    a, b = drawn(np.random.default_rng(0), 10_000)
    tracemalloc.start()
    paired_randomisation(a, b, rounds=500)
    bootstrap_interval(a, rounds=500)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


def test_intervals_hold_the_mean_as_often_as_promised() -> None:
    draw = np.random.default_rng(1)
    for sample, truth in ((lambda: draw.beta(0.5, 1.5, 100), 0.25), (lambda: draw.binomial(1, 0.6, 100) * 1.0, 0.6)):
        intervals = [bootstrap_interval(sample(), rounds=400, seed=n) for n in range(600)]
        held = sum(low <= truth <= high for low, high in intervals) / len(intervals)
        assert 0.92 <= held <= 0.97
        assert all(low < high for low, high in intervals)


def test_an_interval_narrows_with_its_level_and_is_a_point_for_equal_values() -> None:
    values = np.random.default_rng(2).uniform(size=50)
    low, high = bootstrap_interval(values)
    inner_low, inner_high = bootstrap_interval(values, level=0.5)
    assert low < inner_low < values.mean() < inner_high < high
    assert bootstrap_interval(np.full(9, 0.25)) == (0.25, 0.25)


def test_the_interval_of_a_difference_is_paired() -> None:
    a = np.linspace(0, 1, 30)
    assert bootstrap_difference(a, a + 0.125) == pytest.approx((0.125, 0.125))
    noise = np.random.default_rng(0).normal(0, 0.1, 30)
    low, high = bootstrap_difference(a, a + noise + 0.2)
    assert 0 < low < 0.2 + noise.mean() < high < 0.35


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])
    assert holm([0.9, 0.6, 0.01]) == pytest.approx([1.0, 1.0, 0.03])
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_queries_needed_by_hand() -> None:
    a = np.zeros(4)
    b = np.array([0.3, -0.1, 0.3, -0.1])  # mean 0.1, standard deviation 0.2309
    assert queries_needed(a, b) == 44  # (2.8016 * 2.3094)^2 + 1.96^2 / 2 = 43.8
    more = queries_needed(a, b, power=0.9)
    assert more is not None
    assert more > 44
    assert queries_needed(a, np.full(4, 0.5)) == 6  # 2 / 2^6 is the first p below 0.05
    assert queries_needed(a, np.array([0.1, -0.1, 0.2, -0.2])) is None
    assert queries_needed(np.zeros(1), np.ones(1)) is None


def test_every_pair_of_systems_is_compared() -> None:
    draw = np.random.default_rng(8)
    a, b = drawn(draw, 100)
    systems = {"plain": a, "same": b, "better": a + 0.2}
    by_query = {name: {f"q{n}": float(v) for n, v in enumerate(values)} for name, values in systems.items()}
    by_query["same"] = dict(reversed(by_query["same"].items()))
    found = compare("ndcg@10", by_query, seed=4)
    assert [(one.metric, one.a, one.b) for one in found] == [
        ("ndcg@10", "plain", "same"),
        ("ndcg@10", "plain", "better"),
        ("ndcg@10", "same", "better"),
    ]
    undecided, better, also = found
    assert undecided.p == pytest.approx(paired_randomisation(a, b, seed=4), abs=0.02)  # queries in another order
    assert undecided.difference == pytest.approx(b.mean() - a.mean())
    assert undecided.interval[0] < undecided.difference < undecided.interval[1]
    assert [one.p_adjusted for one in found] == pytest.approx(holm([one.p for one in found]))
    assert undecided.p_adjusted > 0.05
    assert undecided.queries_needed == queries_needed(a, b, level=0.05 / 3)
    assert undecided.queries_needed != queries_needed(a, b)
    assert better.p_adjusted < 0.05
    assert better.difference == pytest.approx(0.2)
    assert better.queries_needed is None
    assert also.queries_needed is None


def test_one_system_is_compared_with_nothing() -> None:
    assert compare("map", {"only": {"q": 1.0}}) == ()


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'q2' is in one of them only"):
        compare("map", {"a": {"q1": 1.0}, "b": {"q1": 1.0, "q2": 0.0}})
    with pytest.raises(InvalidInputError, match="no queries"):
        compare("map", {"a": {}, "b": {}})
    with pytest.raises(InvalidInputError, match="2 and of 3"):
        paired_randomisation(np.zeros(2), np.zeros(3))
    with pytest.raises(InvalidInputError, match="not a finite number"):
        bootstrap_interval(np.array([0.0, np.nan]))
    with pytest.raises(InvalidInputError, match="no queries"):
        bootstrap_interval(np.array([]))
