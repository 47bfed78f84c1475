"""Overlap of retrieved passages with gold ones, against sets of characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.records import Span
from evals.spans import overlap
from rag.errors import InvalidInputError

RANGES = st.tuples(st.integers(0, 30), st.integers(0, 10)).map(lambda pair: (pair[0], pair[0] + pair[1]))
RETRIEVED = st.dictionaries(st.sampled_from("abc"), st.lists(RANGES, max_size=4))
GOLD = st.lists(st.tuples(st.sampled_from("abc"), RANGES), min_size=1, max_size=4).map(
    lambda found: [Span(document, *place) for document, place in found]
)


@given(RETRIEVED, GOLD)
def test_characters_are_counted_as_sets_are(retrieved: dict[str, list[tuple[int, int]]], gold: list[Span]) -> None:
    got = {(name, at) for name, places in retrieved.items() for start, end in places for at in range(start, end)}
    wanted = {(span.document, at) for span in gold for at in range(span.start, span.end)}
    if not wanted:
        with pytest.raises(InvalidInputError, match="no passage"):
            overlap(retrieved, gold)
        return
    both = len(got & wanted)
    expected = both / len(wanted), both / len(got) if got else 0, both / len(got | wanted)
    assert overlap(retrieved, gold) == pytest.approx(expected)
    length = sum(end - start for places in retrieved.values() for start, end in places)
    charged = overlap(retrieved, gold, count_repeats=True)
    expected = both / len(wanted), both / length if length else 0, both / (length + len(wanted) - both)
    assert charged == pytest.approx(expected)
    every = {name: [(at, at + 1) for at in range(60)] for name in "abc"}
    assert overlap(retrieved, gold, every) == pytest.approx(overlap(retrieved, gold))


def test_hand_values() -> None:
    gold = [Span("a", 10, 20), Span("b", 0, 10)]
    assert overlap({"a": [(0, 15), (5, 20)]}, gold) == pytest.approx((0.5, 0.5, 10 / 30))
    assert overlap({"a": [(0, 15), (5, 20)]}, gold, count_repeats=True) == pytest.approx((0.5, 10 / 30, 10 / 40))
    assert overlap({"a": [(10, 20)], "b": [(0, 10)]}, gold) == (1, 1, 1)
    assert overlap({"c": [(0, 10)]}, gold) == (0, 0, 0)
    assert overlap({}, gold) == (0, 0, 0)


def test_tokens_are_counted_where_they_are_given() -> None:
    tokens = {"a": [(0, 3), (4, 7), (8, 16), (17, 18)]}  # "one two thirteen 4"
    found = overlap({"a": [(4, 16)]}, [Span("a", 0, 7)], tokens)
    assert found == pytest.approx((1 / 2, 1 / 2, 1 / 3))
    cut = overlap({"a": [(0, 5)]}, [Span("a", 4, 7)], tokens)  # a token cut in two was retrieved
    assert cut == pytest.approx((1, 1 / 2, 1 / 2))
    between = overlap({"a": [(3, 4)]}, [Span("a", 0, 18)], tokens)  # a space is no token
    assert between == (0, 0, 0)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no passage"):
        overlap({"a": [(0, 1)]}, [])
    with pytest.raises(InvalidInputError, match=r"\[5, 2\] is no passage"):
        overlap({"a": [(5, 2)]}, [Span("a", 0, 1)])
    with pytest.raises(InvalidInputError, match="tokens of document 'b'"):
        overlap({"b": [(0, 1)]}, [Span("a", 0, 1)], {"a": [(0, 1)]})
