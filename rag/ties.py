"""Equal scores, told from different ones: the order of hits is the same whatever adds the scores up; pure.

Two scores are equal when they differ by no more than adding up in another order makes of them, as engines do. A chain
of such neighbours is one tie: it has the best of its scores, and is ordered by id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

ROUNDING = 1e-6  # of a score, or of 1: 32-bit floats have seven digits, and sums of them somewhat less


def are_equal(better: float, worse: float) -> bool:
    """Whether rounding alone may part these scores."""
    return better - worse <= ROUNDING * max(1.0, abs(better))


def settle(scored: Iterable[tuple[float, str, T]], limit: int) -> list[tuple[float, T]]:
    """The best `limit` of (score, id, what has them), by score, then by id."""
    ordered = sorted(scored, key=lambda one: -one[0])
    settled: list[tuple[float, T]] = []
    start = 0
    while start < len(ordered) and len(settled) < limit:
        end = start + 1
        while end < len(ordered) and are_equal(ordered[end - 1][0], ordered[end][0]):
            end += 1
        tied = ordered[start:end] if end - start == 1 else sorted(ordered[start:end], key=lambda one: one[1])
        settled += [(ordered[start][0], one[2]) for one in tied]
        start = end
    return settled[:limit]
