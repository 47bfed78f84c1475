"""What is newer counts for more: scores lose weight with the age of their document.

    score' = score * (FLOOR + (1 - FLOOR) * 0.5 ** (age / half_life))

The decay is the exponential prior over a document's age of Li and Croft, "Time-Based Language Models", CIKM 2003, with
its rate given as a half-life. The floor keeps relevance in charge: however old, a passage that is twice as relevant as
another one does not come behind it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rag.dates import DAY_SECONDS
from rag.documents import SearchHit
from rag.errors import InvalidInputError

FLOOR = 0.5


def recency_factor(age_seconds: float | None, half_life_days: float) -> float:
    """What a score is multiplied by: 1 for what is new, and nearly `FLOOR` for what is very old.

    Args:
        age_seconds: below 0, in the future, counts as 0. None, an unknown age, counts as very old: what tells no date
            cannot claim to be new.
        half_life_days: above 0.
    """
    if age_seconds is None:
        return FLOOR
    half_lives = max(age_seconds, 0.0) / DAY_SECONDS / half_life_days
    return FLOOR + (1 - FLOOR) * math.pow(0.5, half_lives)


def by_recency(hits: Sequence[SearchHit], half_life_days: float, now: float) -> list[SearchHit]:
    """Hits by score times recency, best first; hits of equal scores stay in their order.

    Args:
        hits: best first, with scores of at least 0.
        half_life_days: see `check_half_life`.
        now: seconds since 1970.

    Returns:
        The same hits, each with its new `score`, and its factor as `scores.recency`.
    """
    weighed: list[SearchHit] = []
    for hit in hits:
        factor = recency_factor(None if hit.date is None else now - hit.date, half_life_days)
        weighed.append(replace(hit, score=hit.score * factor, scores=replace(hit.scores, recency=factor)))
    return sorted(weighed, key=lambda hit: -hit.score)


def check_half_life(days: float) -> float:
    """The half-life itself, when it is one; 0 is none.

    Raises:
        InvalidInputError: it is negative or not finite.
    """
    if not (math.isfinite(days) and days >= 0):
        raise InvalidInputError(f"A half-life of {days} days is none: use a number above 0, or 0 to ignore dates.")
    return days
