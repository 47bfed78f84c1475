"""Fusion: each point once, scores kept, order defined."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.documents import Candidate, Scores
from rag.fusion import LEANING, adaptive_sum, distribution_based, normalised_sum, reciprocal_rank

Fuse = Callable[[list[Candidate], list[Candidate]], list[Candidate]]
METHODS: list[Fuse] = [
    lambda a, b: normalised_sum(a, b, 0.6),
    lambda a, b: adaptive_sum(a, b, 0.6),
    reciprocal_rank,
    distribution_based,
]


def dense(**scores: float) -> list[Candidate]:
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [Candidate(id_, "d", "g", Scores(dense=score)) for id_, score in ordered]


def sparse(**scores: float) -> list[Candidate]:
    return [Candidate(c.chunk_id, "d", "g", Scores(sparse=c.scores.dense)) for c in dense(**scores)]


def fused(candidates: list[Candidate]) -> dict[str, float]:
    return {candidate.chunk_id: candidate.scores.fused or 0.0 for candidate in candidates}


def test_normalised_sum_by_hand() -> None:
    found = normalised_sum(dense(a=0.9, b=0.5, c=0.1), sparse(b=20, e=15, d=10), 0.6)
    assert fused(found) == pytest.approx({"b": 0.6 * 0.5 + 0.4, "a": 0.6, "e": 0.2, "c": 0.0, "d": 0.0})
    assert [candidate.chunk_id for candidate in found] == ["b", "a", "e", "c", "d"]
    assert found[0].scores.dense == 0.5
    assert found[0].scores.sparse == 20
    assert found[1].scores.sparse is None
    assert found[2].scores.dense is None


def test_what_has_none_of_the_words_is_the_worst_by_words_where_all_that_have_some_are_known() -> None:
    found = fused(normalised_sum(dense(a=0.9, b=0.5, c=0.1), sparse(b=20, c=19), 0.6))
    assert found == pytest.approx({"a": 0.6, "b": 0.6 * 0.5 + 0.4, "c": 0.4 * 19 / 20})


def test_adaptive_sum_leans_towards_the_list_that_is_surer_of_its_best() -> None:
    """The contrast of each list by numpy's mean and standard deviation."""
    near, words = {"a": 0.81, "b": 0.80, "c": 0.79, "d": 0.78}, {"d": 20.0, "b": 2.0, "c": 1.0, "a": 1.0}

    def contrast(scores: dict[str, float]) -> float:
        values = np.array(list(scores.values()))
        return float((values.max() - values.mean()) / values.std())

    weight = 0.5 + LEANING * (contrast(near) - contrast(words))
    assert weight < 0.5
    found = adaptive_sum(dense(**near), sparse(**words), 0.5)
    assert fused(found) == pytest.approx(fused(normalised_sum(dense(**near), sparse(**words), weight)))
    assert found[0].chunk_id == "d"
    same = adaptive_sum(dense(**near), sparse(**near), 0.5)
    assert fused(same) == pytest.approx(fused(normalised_sum(dense(**near), sparse(**near), 0.5)))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_weight_that_leaves_one_list_out_does_not_lean(weight: float) -> None:
    lists = dense(a=0.9, b=0.1, c=0.0), sparse(b=3, c=2, d=1)
    assert fused(adaptive_sum(*lists, weight)) == fused(normalised_sum(*lists, weight))


EQUAL = dict.fromkeys("abcdefghij", 0.1)  # ten times 0.1 is not 1 in floats: their standard deviation is not 0


@pytest.mark.parametrize(
    ("near", "words"), [(EQUAL, {"a": 5, "b": 2, "c": 1}), ({"a": 0.9, "b": 0.2, "c": 0.1}, EQUAL), (EQUAL, {"a": 5})]
)
def test_adaptive_sum_does_not_lean_where_scores_cannot_tell(near: dict[str, float], words: dict[str, float]) -> None:
    lists = dense(**near), sparse(**words)
    assert fused(adaptive_sum(*lists, 0.5)) == fused(normalised_sum(*lists, 0.5))


def test_reciprocal_rank_by_hand() -> None:
    found = fused(reciprocal_rank(dense(a=0.9, b=0.5), sparse(b=20, c=10), k=60))
    assert found == pytest.approx({"b": 30.5 * (1 / 62 + 1 / 61), "a": 0.5, "c": 30.5 / 62})


def test_distribution_based_by_hand() -> None:
    found = fused(distribution_based(dense(a=0.9, b=0.5), sparse(b=20, c=10)))
    high, low = (1 / 3 + 1) / 2, (1 - 1 / 3) / 2
    assert found == pytest.approx({"a": high / 2, "b": (low + high) / 2, "c": low / 2})


def test_a_single_or_equal_score_counts_in_full() -> None:
    assert fused(normalised_sum(dense(a=0.2), [], 0.6)) == {"a": 0.6}
    assert fused(normalised_sum([], sparse(a=1, b=1), 0.6)) == pytest.approx({"a": 0.4, "b": 0.4})


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_weights_outside_their_range_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        normalised_sum([], [], weight)


COSINES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-1, 1), max_size=8)
WEIGHTS = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 50), max_size=8)


@pytest.mark.parametrize("fuse", METHODS)
@given(first=COSINES, second=WEIGHTS)
def test_every_method_keeps_the_points_and_orders_them(
    fuse: Fuse, first: dict[str, float], second: dict[str, float]
) -> None:
    found = fuse(dense(**first), sparse(**second))
    assert sorted(candidate.chunk_id for candidate in found) == sorted({*first, *second})
    keys = [(-(candidate.scores.fused or 0.0), candidate.chunk_id) for candidate in found]
    assert keys == sorted(keys)
    for candidate in found:
        assert 0 <= (candidate.scores.fused or 0.0) <= 1 + 1e-9
        assert candidate.scores.dense == first.get(candidate.chunk_id)
        assert candidate.scores.sparse == second.get(candidate.chunk_id)
