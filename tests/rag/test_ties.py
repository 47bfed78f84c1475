"""The cut among equal scores, by hand."""

from rag.backends.vectors.ranking import MARGIN, cut, first_ask, next_ask


def rows(**scores: float) -> list[tuple[str, str, str, float]]:
    return [(name, "d", "g", score) for name, score in scores.items()]


def test_scores_that_differ_by_rounding_are_one_and_ordered_by_id() -> None:
    found = cut(rows(c=0.5000002, a=0.5, b=0.5000001, z=0.9, d=0.49), 10)
    assert [(row[0], row[3]) for row in found] == [
        ("z", 0.9), ("a", 0.5000002), ("b", 0.5000002), ("c", 0.5000002), ("d", 0.49),
    ]  # fmt: skip


def test_what_differs_by_more_than_rounding_is_not_one() -> None:
    assert [row[0] for row in cut(rows(a=0.5, b=0.50001), 10)] == ["b", "a"]
    assert [row[0] for row in cut(rows(a=80.0, b=80.001), 10)] == ["b", "a"]
    assert [row[0] for row in cut(rows(b=80.00001, a=80.0), 10)] == ["a", "b"]


def test_the_cut_may_go_through_a_tie() -> None:
    assert [row[0] for row in cut(rows(d=1.0, b=1.0, c=1.0, a=1.0), 2)] == ["a", "b"]
    assert cut([], 3) == []


def test_more_are_asked_for_while_the_last_wanted_may_tie_with_what_was_not_returned() -> None:
    asked = first_ask(2)
    tied = rows(**{f"n{number}": 1.0 for number in range(asked)})
    assert next_ask(tied, 2, asked) == 2 + MARGIN * 8
    assert next_ask(tied[:-1], 2, asked) is None
    nearly = [*tied[:-1], ("last", "d", "g", 0.9999995)]
    assert next_ask(nearly, 2, asked) == 2 + MARGIN * 8
    below = [*tied[:-1], ("last", "d", "g", 0.999)]
    assert next_ask(below, 2, asked) is None
