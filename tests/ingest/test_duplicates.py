"""Sketches estimate what texts share, and near duplicates are found at a cost that grows with their number."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.duplicates import _CROWD, HASHES, SHINGLE_WORDS, SIMILAR, near_duplicates, similarity, sketch_of

WORDS = ["".join(letters) for letters in itertools.product("bdfgklmn", repeat=3)]


def jaccard(one: str, other: str) -> float:
    first, second = (
        {tuple(text.split()[at : at + SHINGLE_WORDS]) for at in range(len(text.split()) - SHINGLE_WORDS + 1)}
        for text in (one, other)
    )
    return len(first & second) / len(first | second)


def pair(seed: int, length: int, edits: int) -> tuple[str, str]:
    """A text, and the same with some of its words replaced."""
    draw = random.Random(seed)
    words = draw.choices(WORDS, k=length)
    other = list(words)
    for _ in range(edits):
        other[draw.randrange(length)] = draw.choice(WORDS)
    return " ".join(words), " ".join(other)


def sketched(text: str) -> bytes:
    sketch = sketch_of(text)
    assert sketch is not None
    return sketch


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.integers(20, 400), st.integers(0, 60))
def test_a_sketch_estimates_the_jaccard_similarity(seed: int, length: int, edits: int) -> None:
    one, other = pair(seed, length, edits)
    # five standard errors of 64 hashes at most
    assert abs(similarity(sketched(one), sketched(other)) - jaccard(one, other)) <= 5 * 0.0625


def test_the_estimate_is_right_on_average() -> None:
    errors = []
    for seed in range(200):
        one, other = pair(seed, 150, seed % 40)
        errors.append(similarity(sketched(one), sketched(other)) - jaccard(one, other))
    assert abs(np.mean(errors)) < 0.0177  # four standard errors of the mean: 4 * 0.0625 / sqrt(200)
    assert np.std(errors) < 0.0625


def test_case_and_signs_do_not_count_and_short_texts_have_no_sketch() -> None:
    assert sketch_of("One two, three - four FIVE.") == sketch_of("one two three four five")
    assert len(sketched("one two three four five")) == 4 * HASHES
    assert sketch_of("one two three four") is None
    assert sketch_of("") is None
    assert sketch_of("один два три четыре пять шесть") is not None


def test_a_long_text_is_sketched_in_pieces_as_a_whole() -> None:
    words = [str(number) for number in range(40_000)]
    whole = np.frombuffer(sketched(" ".join(words)), np.uint32)
    parts = [
        np.frombuffer(sketched(" ".join(words[at : at + 10_000 + SHINGLE_WORDS - 1])), np.uint32)
        for at in range(0, 40_000, 10_000)
    ]
    assert (whole == np.minimum.reduce(parts)).all()


def test_pairs_are_those_of_a_comparison_of_all() -> None:
    draw = random.Random(7)
    sketches = {}
    for group in range(30):
        base = draw.choices(WORDS, k=200)
        for version in range(3):
            words = list(base)
            for _ in range(version * draw.choice((1, 2, 20))):
                words[draw.randrange(200)] = draw.choice(WORDS)
            sketches[f"{group:02}/{version}"] = sketched(" ".join(words))
    names = sorted(sketches)
    wanted = [
        (one, other, similarity(sketches[one], sketches[other]))
        for at, one in enumerate(names)
        for other in names[at + 1 :]
        if similarity(sketches[one], sketches[other]) >= SIMILAR
    ]
    assert len(wanted) > 20
    assert list(near_duplicates(sketches.items())) == wanted


def test_many_copies_cost_a_comparison_each() -> None:
    copies = [(f"copy{number:05}", sketched("the same text in every one of these files")) for number in range(5000)]
    other = ("other", sketched("nothing that any of the others has said so far"))
    found = list(near_duplicates([*copies, other]))
    assert [pair[:2] for pair in found] == [("copy00000", name) for name, _ in copies[1:]]
    few = list(near_duplicates(copies[:_CROWD]))
    assert len(few) == _CROWD * (_CROWD - 1) // 2


@pytest.mark.parametrize("sketches", [[], [("one", b"\0" * 256)]])
def test_fewer_than_two_have_no_pairs(sketches: list[tuple[str, bytes]]) -> None:
    assert list(near_duplicates(sketches)) == []
