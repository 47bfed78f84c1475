"""Put the judgement of a reranker into the order of candidates; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rag.documents import SearchHit

# Where the best candidate leads by this much of the fused scale, there is little to decide.
CLOSE = 0.15


def is_close(hits: Sequence[SearchHit], k: int) -> bool:
    """Whether it is open which of the hits is the best, or which are the first `k`."""
    fused = [hit.scores.fused or 0.0 for hit in hits]
    if len(fused) < 2:
        return False
    return fused[0] - fused[1] < CLOSE or (len(fused) > k and fused[k - 1] - fused[k] < CLOSE / 2)


def rerank(hits: Sequence[SearchHit], judged: Sequence[float], weight: float) -> list[SearchHit]:
    """Order hits by a weighted sum of their fused score and the reranker's, best first, ties by chunk id.

    Args:
        hits: best first, with fused scores.
        judged: relevance of the first of them, 0 to 1. Compared by log odds, scaled to 0 to 1 over those judged.
        weight: share of the reranker, 0 to 1. What it has not judged has no share of it.

    Returns:
        All hits; `score` is the sum, `scores.rerank` the relevance.
    """
    odds = [math.log(max(score, 1e-9) / max(1 - score, 1e-9)) for score in judged]
    low, high = min(odds, default=0.0), max(odds, default=0.0)
    reranked = []
    for at, hit in enumerate(hits):
        if at < len(judged):
            share = (odds[at] - low) / (high - low) if high > low else 1.0
            scores = replace(hit.scores, rerank=judged[at])
        else:
            share, scores = 0.0, hit.scores
        reranked.append(replace(hit, scores=scores, score=weight * share + (1 - weight) * (hit.scores.fused or 0.0)))
    return sorted(reranked, key=lambda hit: (-hit.score, hit.chunk.id))
