"""Scores of a run against judgements, as trec_eval defines them.

A metric is named as in `ndcg@10`: `ndcg`, `recall`, `precision`, `success` need a cutoff; `map` and `mrr` may have one.
The values are those of trec_eval (tests hold them against pytrec_eval), save that a judged query without a result
counts 0 instead of being left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from evals.records import Qrels, Run
from rag.errors import InvalidInputError

Measure = Callable[[Sequence[int], Sequence[int], int], float]
"""Gains of the ranked documents, gains of an ideal ranking (each above 0), cutoff -> value."""

_NAME = re.compile(r"([a-z]+)(?:@([1-9][0-9]*))?")


def evaluate(run: Run, qrels: Qrels, metrics: Sequence[str]) -> dict[str, dict[str, float]]:
    """Score every judged query.

    Args:
        run: what was found. Queries that nobody judged are ignored; documents that nobody judged are not relevant.
        qrels: a document with a grade of 1 or more is relevant, and the grade is its gain (linear) in nDCG.
        metrics: such as `ndcg@10`, `recall@100`, `mrr@10`, `map`, `success@1`, `precision@5`.

    Returns:
        Metric -> query -> value, over the queries of `qrels` with at least one relevant document, in their order.

    Raises:
        InvalidInputError: a metric that does not exist, or a score that is not a number.

    Sources: Järvelin and Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", TOIS 2002, for nDCG;
    trec_eval 9 for the rest and for ties.
    """
    measures = {name: _measure(name) for name in metrics}
    values: dict[str, dict[str, float]] = {name: {} for name in measures}
    for query, grades in qrels.items():
        ideal = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
        if not ideal:
            continue
        found = run.get(query, {})
        gains = [max(0, grades.get(document, 0)) for document in ranked(found)] if found else []
        for name, (measure, cutoff) in measures.items():
            values[name][query] = measure(gains, ideal, cutoff or max(1, len(gains)))
    return values


def mean(per_query: Mapping[str, float]) -> float:
    """Mean over all queries of one metric; 0 where there are none."""
    return math.fsum(per_query.values()) / len(per_query) if per_query else 0.0


def ranked(found: Mapping[str, float]) -> list[str]:
    """Document ids, best first, as trec_eval orders them.

    It keeps scores in single precision, so what differs less is a tie, and of a tie the greater id comes first.

    Raises:
        InvalidInputError: a score is not a number.
    """
    with np.errstate(over="ignore"):
        scores = np.array(list(found.values()), dtype=np.float64).astype(np.float32)
    if np.isnan(scores).any():
        document = next(document for document, score in found.items() if math.isnan(score))
        raise InvalidInputError(f"The score of document {document!r} is not a number. Leave it out of the run.")
    pairs = sorted(zip(scores.tolist(), found, strict=True), reverse=True)
    return [document for _, document in pairs]


def check_metrics(names: Sequence[str]) -> None:
    """Refuse a metric that does not exist, before anything is computed. Raises InvalidInputError."""
    for name in names:
        _measure(name)


def _measure(name: str) -> tuple[Measure, int | None]:
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _MEASURES or (match[2] is None and match[1] not in _WITHOUT_CUTOFF):
        raise InvalidInputError(
            f"There is no metric named {name!r}. There are ndcg@K, recall@K, precision@K, success@K, mrr@K, mrr, map@K "
            "and map, where K is a whole number above 0."
        )
    return _MEASURES[match[1]], int(match[2]) if match[2] else None


def _ndcg(gains: Sequence[int], ideal: Sequence[int], cutoff: int) -> float:
    return _dcg(gains[:cutoff]) / _dcg(ideal[:cutoff])


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1) if gain)


def _recall(gains: Sequence[int], ideal: Sequence[int], cutoff: int) -> float:
    return _relevant(gains, cutoff) / len(ideal)


def _precision(gains: Sequence[int], _ideal: Sequence[int], cutoff: int) -> float:
    return _relevant(gains, cutoff) / cutoff


def _success(gains: Sequence[int], _ideal: Sequence[int], cutoff: int) -> float:
    return float(any(gains[:cutoff]))


def _reciprocal_rank(gains: Sequence[int], _ideal: Sequence[int], cutoff: int) -> float:
    return next((1 / rank for rank, gain in enumerate(gains[:cutoff], 1) if gain), 0.0)


def _average_precision(gains: Sequence[int], ideal: Sequence[int], cutoff: int) -> float:
    ranks = [rank for rank, gain in enumerate(gains[:cutoff], 1) if gain]
    return sum(place / rank for place, rank in enumerate(ranks, 1)) / len(ideal)


def _relevant(gains: Sequence[int], cutoff: int) -> int:
    return sum(gain > 0 for gain in gains[:cutoff])


_MEASURES: Mapping[str, Measure] = {
    "ndcg": _ndcg,
    "recall": _recall,
    "precision": _precision,
    "success": _success,
    "mrr": _reciprocal_rank,
    "map": _average_precision,
}
_WITHOUT_CUTOFF = ("mrr", "map")
