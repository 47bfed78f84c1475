"""Keeping one document, or one wording, from taking all the places among the hits. Pure functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from rag.documents import SearchHit
from rag.errors import InvalidInputError

Similarity = Callable[[SearchHit, SearchHit], float]

_WORD = re.compile(r"\w+")


def cap_per_document(hits: Sequence[SearchHit], limit: int) -> list[SearchHit]:
    """Keep the best `limit` hits of each document.

    Args:
        hits: best first.
        limit: at least 1.

    Returns:
        The kept hits in their order.

    Raises:
        InvalidInputError: `limit` is below 1.
    """
    if limit < 1:
        raise InvalidInputError(f"At least one passage of a document must be allowed, not {limit}.")
    seen: Counter[str] = Counter()
    kept = []
    for hit in hits:
        seen[hit.chunk.document_id] += 1
        if seen[hit.chunk.document_id] <= limit:
            kept.append(hit)
    return kept


def mmr(hits: Sequence[SearchHit], similarity: Similarity, limit: int, relevance: float = 0.7) -> list[SearchHit]:
    """Pick hits one by one, each for its score less its likeness to what is picked (maximal marginal relevance).

    Args:
        hits: best first, with scores in [0, 1].
        similarity: of two hits, in [0, 1]; `shared_words`, or a cosine of vectors at hand.
        limit: how many to pick, at least 0.
        relevance: share of a hit's own score, 0 to 1; 1 leaves the order as it is.

    Returns:
        At most `limit` hits in the order in which they were picked; ties go to the better hit.

    Raises:
        InvalidInputError: `limit` is negative, or `relevance` is outside 0 to 1.

    Source: Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
    Summaries", SIGIR 1998.
    """
    if limit < 0 or not 0 <= relevance <= 1:
        raise InvalidInputError(f"MMR needs a limit of at least 0 and a share in 0 to 1, not {limit} and {relevance}.")
    left, picked = list(hits), list[SearchHit]()
    likeness = [0.0] * len(left)  # of each hit that is left to the most similar one that is picked
    while left and len(picked) < limit:
        marginal = [relevance * hit.score - (1 - relevance) * like for hit, like in zip(left, likeness, strict=True)]
        best = max(range(len(left)), key=lambda i: (marginal[i], -i))
        picked.append(left.pop(best))
        likeness.pop(best)
        likeness = [max(like, similarity(hit, picked[-1])) for hit, like in zip(left, likeness, strict=True)]
    return picked


def shared_words(first: SearchHit, second: SearchHit) -> float:
    """The share of two hits' distinct words that both have (Jaccard index), 0 to 1; 0 when neither has any."""
    one, other = (set(_WORD.findall(hit.chunk.text.casefold())) for hit in (first, second))
    return len(one & other) / len(one | other) if one | other else 0.0
