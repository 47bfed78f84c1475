"""Two systems question by question: what changed, by how much, and whether chance explains it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from evals.figures import chance, count, interval, is_lower_better, metric_name, score, signed
from evals.records import Comparison, EvalResult, SystemResult
from evals.significance import LEVEL
from evals.significance import compare as compare_values
from rag.errors import InvalidInputError

MAIN_METRICS = ("ndcg@10", "f1", "right")


@dataclass(frozen=True)
class Entrant:
    """A system in a comparison; `label` tells it from the others."""

    label: str
    result: EvalResult
    system: SystemResult


@dataclass(frozen=True, slots=True)
class Change:
    """One question under both systems."""

    query: str
    question: str
    a: float
    b: float

    @property
    def difference(self) -> float:
        """Of `b` minus `a`."""
        return self.b - self.a


@dataclass(frozen=True)
class SideBySide:
    """Two systems on the questions that both have.

    Attributes:
        a: label of the first system, from which differences are counted.
        only_a: questions that the first system has and the second has not.
        changes: every shared question, from the one that lost most to the one that gained most; ties by id.
    """

    dataset: str
    metric: str
    a: str
    b: str
    mean_a: float
    mean_b: float
    only_a: int
    only_b: int
    comparison: Comparison
    changes: tuple[Change, ...]

    @property
    def is_decided(self) -> bool:
        """Whether chance is an unlikely reason for the difference."""
        return self.comparison.p_adjusted <= LEVEL

    def worst(self, limit: int) -> tuple[Change, ...]:
        """The questions whose figure fell most, the largest fall first."""
        return tuple(change for change in self.changes[:limit] if change.difference < 0)

    def best(self, limit: int) -> tuple[Change, ...]:
        """The questions whose figure rose most, the largest rise first."""
        return tuple(change for change in self.changes[::-1][:limit] if change.difference > 0)

    def verdict(self) -> str:
        """One sentence for people."""
        name = metric_name(self.metric)
        found = (
            f"{name} is {score(self.mean_b)} with {self.b} and {score(self.mean_a)} with {self.a} on "
            f"{count(len(self.changes), 'question')}, a difference of {signed(self.comparison.difference)} "
            f"(95 % interval {interval(self.comparison.interval, with_signs=True)}, "
            f"{chance(self.comparison.p_adjusted)})"
        )
        if self.is_decided:
            is_better = (self.comparison.difference > 0) != is_lower_better(self.metric)
            return f"{found}: {self.b} is {'better' if is_better else 'worse'}."
        if self.comparison.queries_needed is None:
            return f"{found}: no difference was found."
        return f"{found}: undecided; about {count(self.comparison.queries_needed, 'question')} would decide it."


def main_metric(system: SystemResult, wanted: str | None = None) -> str:
    """The metric to compare by: the one that is wanted, or the best known that the system has per question.

    Raises:
        InvalidInputError: the system has not been measured by it.
    """
    known = list(system.per_query)
    if wanted is None:
        wanted = next((metric for metric in MAIN_METRICS if metric in known), known[0] if known else "")
    if wanted not in known:
        have = ", ".join(known) or "none"
        raise InvalidInputError(f"{system.name} has no {wanted or 'figures'} per question. It has: {have}.")
    return wanted


def entrants(results: Sequence[tuple[str, EvalResult]]) -> tuple[Entrant, ...]:
    """Every system of every result; where two share a name, the name of their file is added.

    Args:
        results: name of the file without its suffix, and what it holds.

    Raises:
        InvalidInputError: the results are of different kinds, or of data that differ.
    """
    first_file, first = results[0]
    for file, result in results[1:]:
        if (result.kind, result.dataset_sha256) != (first.kind, first.dataset_sha256):
            raise InvalidInputError(
                f"{first_file} and {file} cannot be compared: one is {_data(first)}, the other {_data(result)}. "
                "Measure both systems on the same data."
            )
    names = Counter(system.name for _, result in results for system in result.systems)
    found = [
        Entrant(system.name if names[system.name] == 1 else f"{system.name} ({file})", result, system)
        for file, result in results
        for system in result.systems
    ]
    labels = Counter(entrant.label for entrant in found)
    return tuple(
        entrant if labels[entrant.label] == 1 else Entrant(f"{entrant.label} {number}", entrant.result, entrant.system)
        for number, entrant in enumerate(found, 1)
    )


def side_by_side(found: Sequence[Entrant], metric: str | None = None, *, seed: int = 0) -> tuple[SideBySide, ...]:
    """The first system against each of the others, on the questions that all of them have.

    Args:
        metric: None takes nDCG@10, or F1 of answers.
        seed: of the resampling.

    Raises:
        InvalidInputError: a system lacks the metric, or they share no question.
    """
    metric = main_metric(found[0].system, metric)
    values = {entrant.label: entrant.system.per_query[main_metric(entrant.system, metric)] for entrant in found}
    shared = sorted(set.intersection(*(set(one) for one in values.values())))
    if not shared:
        raise InvalidInputError(f"{' and '.join(values)} share no question: measure them with the same questions.")
    decided = compare_values(
        metric, {name: {query: one[query] for query in shared} for name, one in values.items()}, seed
    )
    first = found[0]
    questions = {query: text for entrant in found for query, text in entrant.result.questions.items()}
    return tuple(
        _pair(
            first,
            other,
            next(one for one in decided if {one.a, one.b} == {first.label, other.label}),
            shared,
            questions,
        )
        for other in found[1:]
    )


def _pair(a: Entrant, b: Entrant, decided: Comparison, shared: Sequence[str], text: Mapping[str, str]) -> SideBySide:
    metric = decided.metric
    of_a, of_b = a.system.per_query[metric], b.system.per_query[metric]
    changes = [Change(query, text.get(query, query), of_a[query], of_b[query]) for query in shared]
    return SideBySide(
        dataset=a.result.dataset, metric=metric, a=a.label, b=b.label,
        mean_a=fmean(change.a for change in changes), mean_b=fmean(change.b for change in changes),
        only_a=len(of_a) - len(set(of_a) & set(of_b)), only_b=len(of_b) - len(set(of_a) & set(of_b)),
        comparison=decided,
        changes=tuple(sorted(changes, key=lambda change: (change.difference, change.query))),
    )  # fmt: skip


def as_json(pair: SideBySide, limit: int = 10) -> dict[str, Any]:
    """A comparison as JSON types, with the `limit` questions that fell and rose most."""
    decided = pair.comparison
    return {
        "dataset": pair.dataset, "metric": pair.metric, "a": pair.a, "b": pair.b,
        "queries": len(pair.changes), "only_a": pair.only_a, "only_b": pair.only_b,
        "mean_a": pair.mean_a, "mean_b": pair.mean_b, "difference": decided.difference,
        "interval": list(decided.interval), "p": decided.p, "p_adjusted": decided.p_adjusted,
        "is_decided": pair.is_decided, "queries_needed": decided.queries_needed, "verdict": pair.verdict(),
        "fell": [_as_json(change) for change in pair.worst(limit)],
        "rose": [_as_json(change) for change in pair.best(limit)],
    }  # fmt: skip


def _as_json(change: Change) -> dict[str, Any]:
    return {
        "query": change.query, "question": change.question, "a": change.a, "b": change.b,
        "difference": change.difference,
    }  # fmt: skip


def _data(result: EvalResult) -> str:
    return f"{result.kind} on {result.dataset} ({result.dataset_sha256[:12]})"
