"""Equal scores, told from different ones: the order of hits is the same whatever adds the scores up; pure.

Two scores are equal when they differ by no more than adding up in another order makes of them, as engines do. A chain
of such neighbours is one tie: it has the best of its scores, and is ordered by id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

ROUNDING = 1e-6  # of a score, or of 1: 32-bit floats have seven digits, and sums of them somewhat less


def are_equal(better: float, worse: float) -> bool:
    """Whether rounding alone may part these scores."""
    return better - worse <= ROUNDING * max(1.0, abs(better))


def settle(scored: Iterable[tuple[float, str, T]], limit: int) -> list[tuple[float, T]]:
    """The best `limit` of (score, id, what has them), by score, then by id."""
    settled: list[tuple[float, T]] = []
    for tied in _ties(sorted(scored, key=lambda one: -one[0])):
        settled += [(tied[0][0], one[2]) for one in sorted(tied, key=lambda one: one[1])]
        if len(settled) >= limit:
            break
    return settled[:limit]


def _ties(scored: Iterable[tuple[float, str, T]]) -> Iterator[list[tuple[float, str, T]]]:
    tied: list[tuple[float, str, T]] = []
    for one in scored:
        if tied and not are_equal(tied[-1][0], one[0]):
            yield tied
            tied = []
        tied.append(one)
    if tied:
        yield tied
