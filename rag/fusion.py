"""Fuse two rankings of the same store into one; pure.

Each function takes candidates best first, and returns each point once with its scores from both lists and `fused` in
0 to 1, best first, ties by chunk id.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev

from rag.documents import Candidate, Scores
from rag.protocols import CandidateLists
from rag.settings import RetrievalSettings
from rag.ties import are_equal

RRF_K = 60
DBSF_DEVIATIONS = 3.0
# Of the weight, for each standard deviation by which the best of one list stands out more than the best of the other.
# Chosen among 0.03, 0.06 and 0.1 on twelve sets: docs/retrieval.md.
LEANING = 0.06
LEANING_BOUNDS = (0.2, 0.8)


def fuse(lists: CandidateLists, settings: RetrievalSettings) -> list[Candidate]:
    """One ranking of the two lists, by the configured method; of one list its own order."""
    match settings.fusion:
        case "rrf":
            return reciprocal_rank(lists.dense, lists.sparse)
        case "dbsf":
            return distribution_based(lists.dense, lists.sparse)
        case "dense":
            return normalised_sum(lists.dense, (), 1)
        case "sparse":
            return normalised_sum((), lists.sparse, 0)
        case "sum":
            return normalised_sum(lists.dense, lists.sparse, settings.dense_weight)
    return adaptive_sum(lists.dense, lists.sparse, settings.dense_weight)


def normalised_sum(dense: Sequence[Candidate], sparse: Sequence[Candidate], weight: float) -> list[Candidate]:
    """Fuse by a weighted sum of min-max normalised scores.

    Args:
        dense: candidates by cosine similarity.
        sparse: candidates by BM25 score, where a list shorter than `dense` holds all that have one: there the lowest
            score is 0, that of the others. A point missing from one list scores 0 there.
        weight: share of `dense`, 0 to 1.

    Raises:
        ValueError: `weight` is outside 0 to 1.

    Source: Bruch et al., "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie in 0 to 1, not {weight}")
    floor = 0.0 if len(sparse) < len(dense) else None
    by_dense, by_sparse = _min_max(_dense_scores(dense)), _min_max(_sparse_scores(sparse), floor)
    return _fuse(dense, sparse, lambda id_: weight * by_dense.get(id_, 0.0) + (1 - weight) * by_sparse.get(id_, 0.0))


def adaptive_sum(dense: Sequence[Candidate], sparse: Sequence[Candidate], weight: float) -> list[Candidate]:
    """Fuse as `normalised_sum`, by a weight that leans towards the list which is the surer of its best.

    A question in another language than the embedder's has cosines that are all alike, and one that shares no telling
    word with its answer has BM25 scores that are: the best hardly stands out from the others.

    Args:
        dense, sparse: see `normalised_sum`.
        weight: share of `dense` where both are equally sure, or one has too few scores or equal ones to tell, 0 to 1.
            0 and 1 stay as they are.

    Raises:
        ValueError: `weight` is outside 0 to 1.
    """
    sure = _contrast(_dense_scores(dense)), _contrast(_sparse_scores(sparse))
    if 0 < weight < 1 and all(sure):
        low, high = min(weight, LEANING_BOUNDS[0]), max(weight, LEANING_BOUNDS[1])
        weight = min(high, max(low, weight + LEANING * (sure[0] - sure[1])))
    return normalised_sum(dense, sparse, weight)


def reciprocal_rank(dense: Sequence[Candidate], sparse: Sequence[Candidate], k: int = RRF_K) -> list[Candidate]:
    """Fuse by the sum of 1 / (k + rank), scaled so that the first of both lists has 1.

    Source: Cormack et al., "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods",
    SIGIR 2009.
    """
    ranks = [{candidate.chunk_id: rank for rank, candidate in enumerate(list_, 1)} for list_ in (dense, sparse)]
    scale = (k + 1) / 2
    return _fuse(dense, sparse, lambda id_: scale * sum(1 / (k + by[id_]) for by in ranks if id_ in by))


def distribution_based(dense: Sequence[Candidate], sparse: Sequence[Candidate]) -> list[Candidate]:
    """Fuse by the mean of scores normalised to three standard deviations around each list's mean.

    Source: Mazzeschi, "Distribution-Based Score Fusion (DBSF)", 2023.
    """
    by_dense, by_sparse = _by_deviation(_dense_scores(dense)), _by_deviation(_sparse_scores(sparse))
    return _fuse(dense, sparse, lambda id_: (by_dense.get(id_, 0.0) + by_sparse.get(id_, 0.0)) / 2)


def _fuse(dense: Sequence[Candidate], sparse: Sequence[Candidate], fused: Callable[[str], float]) -> list[Candidate]:
    known = {candidate.chunk_id: candidate for candidate in (*sparse, *dense)}
    cosines, words = _dense_scores(dense), _sparse_scores(sparse)
    found = [
        Candidate(id_, each.document_id, each.generation, Scores(cosines.get(id_), words.get(id_), fused(id_)))
        for id_, each in known.items()
    ]
    return sorted(found, key=lambda candidate: (-(candidate.scores.fused or 0.0), candidate.chunk_id))


def _dense_scores(candidates: Sequence[Candidate]) -> dict[str, float]:
    return {candidate.chunk_id: candidate.scores.dense or 0.0 for candidate in candidates}


def _sparse_scores(candidates: Sequence[Candidate]) -> dict[str, float]:
    return {candidate.chunk_id: candidate.scores.sparse or 0.0 for candidate in candidates}


def _min_max(scores: Mapping[str, float], floor: float | None = None) -> dict[str, float]:
    if not scores:
        return {}
    low, high = min(scores.values()) if floor is None else floor, max(scores.values())
    # One score, or equal ones, are the best that the list has.
    return {id_: (score - low) / (high - low) if high > low else 1.0 for id_, score in scores.items()}


def _contrast(scores: Mapping[str, float]) -> float:
    """By how many standard deviations the best score lies above the mean; 0 where none stands out."""
    if len(scores) < 3 or are_equal(max(scores.values()), min(scores.values())):
        return 0.0
    mean = sum(scores.values()) / len(scores)
    spread = math.sqrt(sum((score - mean) ** 2 for score in scores.values()) / len(scores))
    return (max(scores.values()) - mean) / spread


def _by_deviation(scores: Mapping[str, float]) -> dict[str, float]:
    if not scores:
        return {}
    mean, reach = fmean(scores.values()), DBSF_DEVIATIONS * pstdev(scores.values())
    if not reach:
        return dict.fromkeys(scores, 0.5)
    return {id_: min(1.0, max(0.0, (score - mean + reach) / (2 * reach))) for id_, score in scores.items()}
