"""The `[n]` of a model go, wherever the stream is cut; subscripts of code stay."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.claimed_numbers import ClaimedNumbers


def passed(*pieces: str) -> tuple[str, list[int]]:
    numbers = ClaimedNumbers()
    text = "".join(numbers.feed(piece) for piece in pieces) + numbers.finish()
    return text, numbers.met


@pytest.mark.parametrize(
    ("written", "shown", "met"),
    [
        ("It is so [1].", "It is so.", [1]),
        ("It is so.[2][3] And so [4, 5]", "It is so. And so", [2, 3, 4, 5]),
        ("In 1911[2] it rained [99].", "In 1911 it rained.", [2, 99]),
        ("Take `items[0]` and [x], [1", "Take `items[0]` and [x], [1", []),
        ("```\na = b[1]\n```\nSo [1].", "```\na = b[1]\n```\nSo.", [1]),
        ("[1234] and [] stay", "[1234] and [] stay", []),
        ("[1]: https://evil", ": https://evil", [1]),
    ],
)
def test_numbers_are_taken_out_and_remembered(written: str, shown: str, met: list[int]) -> None:
    assert passed(written) == (shown, met)


@given(st.text(alphabet="a [1],`\n~ ", max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_cutting_the_stream_changes_nothing(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert passed(*(text[a:b] for a, b in pairwise(edges))) == passed(text)
