"""A deterministic cut among equal scores: by score, then by chunk id, whatever order the engine returns them in.

Engines break ties as it comes, also at the cut, so a few more are asked for than needed. When all of those still tie
with the last one wanted, more are asked for, up to a bound; a tie longer than that is cut as the engine does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rag.ties import are_equal, settle

MARGIN = 32
MAX_MARGIN = 8192

Row = Sequence[Any]  # chunk id, document id, generation, score


def first_ask(limit: int) -> int:
    """How many to ask for at first, for `limit` to be kept."""
    return limit + MARGIN


def next_ask(rows: Sequence[Row], limit: int, asked: int) -> int | None:
    """How many to ask for again; None when the first `limit` of these rows are settled.

    Args:
        rows: best first, as the engine returned them.
        limit: how many are wanted, at least 1.
        asked: how many were asked for.
    """
    last = pairwise(row[3] for row in rows[limit - 1 :])
    settled = len(rows) < asked or any(not are_equal(better, worse) for better, worse in last)
    if settled or asked >= limit + MAX_MARGIN:
        return None
    return min(limit + (asked - limit) * 8, limit + MAX_MARGIN)


def cut(rows: Sequence[Row], limit: int) -> list[Row]:
    """The best `limit` rows, by score, then by chunk id; rows of equal scores all have the best of these."""
    return [(*row[:3], score) for score, row in settle(((row[3], row[0], row) for row in rows), limit)]
