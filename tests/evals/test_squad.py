"""Exact match and F1 as the official evaluation of SQuAD 2.0 gives them, case by case."""

import pytest

from evals.squad import contains, exact_match, f1, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Eiffel Tower!", "eiffel tower"),
        ("  a  cat,\tan owl\n and the   dog ", "cat owl and dog"),
        ("theatre another bathe", "theatre another bathe"),
        ("don't", "dont"),
        ("U.S.A.", "usa"),
        ("twenty-one", "twentyone"),
        ("“quoted” – text", "“quoted” – text"),  # punctuation beyond ASCII stays
        ("a-the", "athe"),  # punctuation goes first
        ("ÉCOLE", "école"),
        ("the", ""),
        ("", ""),
    ],
)
def test_normalised(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("answer", "accepted", "exact", "overlap"),
    [
        ("Denver Broncos", ["Denver Broncos", "The Broncos"], 1, 1),
        ("the broncos.", ["Denver Broncos", "Broncos"], 1, 1),
        ("Denver", ["Denver Broncos"], 0, 2 / 3),
        ("the Denver Broncos of Colorado", ["Denver Broncos"], 0, 2 * 2 / (4 + 2)),
        ("Paris", ["London", "Rome"], 0, 0),
        ("to be to", ["to to to be"], 0, 2 * 3 / (3 + 4)),  # words count as often as in both
        ("", ["Paris"], 0, 0),
        ("the", ["Paris"], 0, 0),
        ("", [], 1, 1),  # unanswerable, refused
        ("the.", [], 1, 1),  # nothing is left of it
        ("Paris", [], 0, 0),  # unanswerable, answered
        ("Paris", ["the", "Paris"], 1, 1),  # an accepted answer of which nothing is left is left out
        ("", ["the", "Paris"], 0, 0),
        ("", ["the"], 1, 1),  # then no answer is wanted
    ],
)
def test_scores(answer: str, accepted: list[str], exact: float, overlap: float) -> None:
    assert exact_match(answer, accepted) == exact
    assert f1(answer, accepted) == pytest.approx(overlap)


@pytest.mark.parametrize(
    ("answer", "accepted", "expected"),
    [
        ("You have 28 days of leave.", ["28 days"], 1),
        ("You have 128 days.", ["28 days"], 0),
        ("You have 28 daysworth.", ["28 days"], 0),
        ("It is the Rotor.", ["stator", "rotor"], 1),
        ("Anything", [], 0),
        ("", [], 1),
        ("", ["28"], 0),
    ],
)
def test_contains_whole_words(answer: str, accepted: list[str], expected: float) -> None:
    assert contains(answer, accepted) == expected
