"""What cannot be had better without being slower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def front(points: Sequence[T], quality: Callable[[T], float], cost: Callable[[T], float]) -> tuple[T, ...]:
    """The points that no other one beats: none is at least as good and as cheap, and better in one of the two.

    Returns:
        Best quality first, which is dearest first. Of equal points the first is kept.
    """
    kept: list[T] = []
    for point in sorted(points, key=lambda point: (-quality(point), cost(point))):
        if not kept or cost(point) < cost(kept[-1]):
            kept.append(point)
    return tuple(kept)
