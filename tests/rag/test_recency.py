"""Recency: the factor of an age, and the order that it makes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.documents import Chunk, Scores, SearchHit
from rag.errors import InvalidInputError
from rag.recency import FLOOR, by_recency, check_half_life, recency_factor

DAY = 86_400.0
NOW = 1_700_000_000.0


def hit(name: str, score: float, age_days: float | None) -> SearchHit:
    chunk = Chunk(name, name, "g", 0, "text", 0, 4)
    date = None if age_days is None else NOW - age_days * DAY
    return SearchHit("s", chunk, name, "file:///d", score, Scores(fused=score), date=date)


def test_the_factor_at_known_ages() -> None:
    assert recency_factor(0, 30) == 1
    assert recency_factor(30 * DAY, 30) == pytest.approx(0.75)
    assert recency_factor(60 * DAY, 30) == pytest.approx(0.625)
    assert recency_factor(-90 * DAY, 30) == 1
    assert recency_factor(1e300, 1e-300) == recency_factor(None, 30) == FLOOR


def test_newer_ones_come_first_where_relevance_is_close() -> None:
    hits = [hit("old", 1.0, 3650), hit("new", 0.9, 1), hit("undated", 0.8, None), hit("far", 0.1, 0)]
    ranked = by_recency(hits, 30, NOW)
    assert [each.title for each in ranked] == ["new", "old", "undated", "far"]
    assert ranked[0].score == pytest.approx(0.9 * recency_factor(DAY, 30))
    assert [each.scores.recency for each in ranked][2] == FLOOR
    assert ranked[0].scores.fused == 0.9


def test_equal_ages_change_no_order_and_ties_stay() -> None:
    hits = [replace(hit(name, score, 5), title=name) for name, score in (("a", 0.7), ("b", 0.7), ("c", 0.2))]
    assert [each.title for each in by_recency(hits, 1, NOW)] == ["a", "b", "c"]
    assert by_recency([], 1, NOW) == []


@given(
    ages=st.tuples(*[st.none() | st.floats(-1e6, 1e6)] * 2),
    weaker=st.floats(0, 1),
    half_life=st.floats(1e-9, 1e9),
)
def test_twice_as_relevant_is_never_overtaken(
    ages: tuple[float | None, float | None], weaker: float, half_life: float
) -> None:
    strong, weak = hit("strong", weaker / FLOOR, ages[0]), hit("weak", weaker, ages[1])
    assert by_recency([strong, weak], half_life, NOW)[0].title == "strong"


@given(first=st.floats(-1e9, 1e12), second=st.floats(-1e9, 1e12), half_life=st.floats(1e-9, 1e9))
def test_older_never_counts_for_more(first: float, second: float, half_life: float) -> None:
    young, old = sorted((first, second))
    assert FLOOR <= recency_factor(old, half_life) <= recency_factor(young, half_life) <= 1


def test_half_lives_are_checked() -> None:
    assert check_half_life(0) == 0
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInputError, match="half-life"):
            check_half_life(bad)
