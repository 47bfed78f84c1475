"""What a report shows, as data: one section for each dataset. `report_page` and `markdown` say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.compare import Change, Entrant, SideBySide, as_json, entrants, main_metric, side_by_side
from evals.figures import count, interval, is_lower_better, metric_name, score
from evals.records import EvalResult
from evals.results import to_json
from rag.errors import InvalidInputError

CHANGED = 10
PERCENTILES = ("p50", "p95", "p99")
SPENT = ("tokens", "price")


@dataclass(frozen=True)
class Section:
    """One dataset and the systems that were measured on it.

    Attributes:
        entrants: the first one is what the others are compared with.
        metrics: all that a system has a mean of.
        main: the metric that questions are shown by; None where nothing was kept by question.
        pairs: the first system against each of the others, by `main`.
    """

    kind: str
    dataset: str
    entrants: tuple[Entrant, ...]
    metrics: tuple[str, ...]
    main: str | None
    pairs: tuple[SideBySide, ...]

    @property
    def queries(self) -> int:
        """How many questions were judged."""
        return max(entrant.result.queries for entrant in self.entrants)

    @property
    def shares(self) -> tuple[str, ...]:
        """The metrics that lie in 0 to 1, so that bars can stand side by side."""

        def lies_within(name: str) -> bool:
            means = (one.system.metrics.get(name, 0.0) for one in self.entrants)
            return name.partition("_")[0] not in SPENT and all(0 <= mean <= 1 for mean in means)

        return tuple(filter(lies_within, self.metrics))

    def verdicts(self) -> tuple[str, ...]:
        """The outcome in sentences."""
        if self.pairs:
            return tuple(pair.verdict() for pair in self.pairs)
        system = self.entrants[0].system
        if self.main is None or self.main not in system.metrics:
            return ()
        ends = system.intervals.get(self.main)
        within = f" (95 % interval {interval(ends)})" if ends else ""
        return (
            f"{metric_name(self.main)} is {score(system.metrics[self.main])} on "
            f"{count(self.queries, 'question')}{within}.",
        )

    def by_question(self) -> tuple[Change, ...]:
        """The questions of the first system with their figures, from the worst to the best; for a system alone."""
        if self.main is None:
            return ()
        first, sign = self.entrants[0], -1 if is_lower_better(self.main) else 1
        found = [
            Change(query, first.result.questions.get(query, query), value, value)
            for query, value in first.system.per_query[self.main].items()
        ]
        return tuple(sorted(found, key=lambda change: (sign * change.a, change.query)))


def sections(
    results: Sequence[tuple[str, EvalResult]], metric: str | None = None, *, seed: int = 0
) -> tuple[Section, ...]:
    """Group results by what they measured.

    Args:
        results: name of the file without its suffix, and what it holds.
        metric: what questions are shown by; None takes nDCG@10, or F1 of answers.
        seed: of the resampling.

    Raises:
        InvalidInputError: there is no result, or a system has not been measured by `metric`.
    """
    groups: dict[tuple[str, str], list[tuple[str, EvalResult]]] = {}
    for file, result in results:
        if not result.systems:
            raise InvalidInputError(f"{file} holds no system: nothing was measured.")
        groups.setdefault((result.kind, result.dataset_sha256), []).append((file, result))
    if not groups:
        raise InvalidInputError("There is no result to report: `quoth eval retrieval --save FILE` makes one.")
    return tuple(_section(entrants(group), metric, seed) for group in groups.values())


def _section(found: tuple[Entrant, ...], metric: str | None, seed: int) -> Section:
    first = found[0]
    has_questions = all(entrant.system.per_query for entrant in found)
    main = main_metric(first.system, metric) if has_questions else None
    return Section(
        kind=first.result.kind,
        dataset=first.result.dataset,
        entrants=found,
        metrics=tuple(dict.fromkeys(name for entrant in found for name in entrant.system.metrics)),
        main=main,
        pairs=side_by_side(found, main, seed=seed) if main and len(found) > 1 else (),
    )


def risk_curve(entrant: Entrant) -> Mapping[str, Any] | None:
    """The risk-coverage curve of a system: `points` of `[coverage, risk, confidence]`, `area`, `coverage`, `risk`."""
    curves = entrant.result.provenance.get("curve")
    found = curves.get(entrant.system.name) if isinstance(curves, Mapping) else None
    return found if isinstance(found, Mapping) and found.get("points") else None


def sections_as_json(found: Sequence[Section]) -> dict[str, Any]:
    """The report as JSON types: every result in full, and the comparisons."""
    results = {id(entrant.result): entrant.result for section in found for entrant in section.entrants}
    return {
        "results": [to_json(result) for result in results.values()],
        "comparisons": [as_json(pair, CHANGED) for section in found for pair in section.pairs],
    }
