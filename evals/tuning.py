"""Which settings are best on a dataset, found on its dev half alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.datasets import split_queries
from evals.figures import chance, count, interval, metric_name, score, signed
from evals.halving import Round, Trial, halve
from evals.indexing import CACHE, OnProgress, open_index
from evals.metrics import check_metrics
from evals.pareto import front
from evals.records import Comparison, Dataset
from evals.retrieval import SPAN_METRICS, OpenIndex
from evals.significance import LEVEL, compare
from evals.space import Space, as_toml, changed, combinations, effective, said
from evals.trials import Trials
from rag.errors import InvalidInputError
from rag.settings import Settings

METRIC = "ndcg@10"
CURRENT, WINNER = "current", "winner"


@dataclass(frozen=True)
class Tuning:
    """What a search over settings found.

    Attributes:
        queries: of the dev half; the test half was not looked at.
        searches: how many were done.
        trials: those that went furthest first, then the best first.
        front: the finalists that no other one beats in quality and latency both, the best first.
        winner: the best finalist; of equals the faster.
        against: the winner against the settings in force, on the questions that both were asked; None where they won.
    """

    dataset: str
    metric: str
    queries: int
    searches: int
    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    winner: Trial
    current: Trial
    against: Comparison | None

    @property
    def toml(self) -> str:
        """The winner as a settings file."""
        return (
            f"# Won on the dev half of {self.dataset.encode('unicode_escape').decode()}: {metric_name(self.metric)} "
            f"{score(self.winner.quality)} on {count(len(self.winner.values), 'question')}, median "
            f"{self.winner.latency:.1f} ms.\n{as_toml(self.winner.changes)}"
        )

    def verdict(self) -> str:
        """One sentence for people."""
        name = metric_name(self.metric)
        if self.against is None:
            return f"The settings in force are the best that was tried: {name} {score(self.winner.quality)}."
        against = self.against
        start = (
            f"{said(self.winner.changes)}: {name} {score(self.winner.quality)} against {score(self.current.quality)} "
            f"with the settings in force on {count(len(self.winner.values), 'dev question')}, "
            f"{signed(against.difference)} "
            f"(95 % interval {interval(against.interval, with_signs=True)}, {chance(against.p)})"
        )
        if against.p > LEVEL:
            return f"{start}; chance explains a difference of this size, so there is no reason to change."
        # The best of many has also been the luckiest, so only the test half can tell how good it is.
        return f"{start}. The best of many is partly lucky: measure it on the test half before you trust the figure."


async def tune(
    dataset: Dataset,
    settings: Settings,
    space: Space,
    *,
    metric: str = METRIC,
    budget: int | None = None,
    seed: int = 0,
    cache: Path = CACHE,
    opened: OpenIndex = open_index,
    on_round: Callable[[Round], None] = lambda _: None,
    on_progress: OnProgress = lambda *_: None,
) -> Tuning:
    """Search for the best settings.

    Args:
        dataset: the whole; the questions are cut in two here, and those of the test half are not asked.
        settings: those in force; they are tried too.
        space: dotted settings -> values to try.
        metric: to be as high as possible.
        budget: searches at most.
        seed: of the cut, the samples and the resampling.
        cache: folder of the indexes; choices with the same chunking and embedder share one.
        opened: opens an index.
        on_round: called after every round of the halving.
        on_progress: called while documents are indexed.

    Raises:
        InvalidInputError: the space does not fit the settings, the metric does not exist, nothing can be scored, or
            the budget is too small.
        QuothError: as `open_index` and `Retriever.search`.
    """
    if metric not in SPAN_METRICS:
        check_metrics([metric])
    dev, _ = split_queries(dataset, seed=seed)
    candidates = _candidates(settings, space)
    async with AsyncExitStack() as stack:
        ask = Trials(dev, settings, metric, stack, cache=cache, opened=opened, on_progress=on_progress)
        queries = ask.queries()
        trials = await halve(candidates, queries, ask, budget=budget, seed=seed, on_round=on_round)
    return _tuning(dataset.name, metric, len(queries), trials, seed)


def _candidates(settings: Settings, space: Space) -> list[dict[str, Any]]:
    """The settings in force first, then every combination that differs from them."""
    found: list[dict[str, Any]] = [{}]
    for choice in combinations(space):
        changed(settings, choice)  # refuses values out of their bounds before anything is measured
        differing = effective(settings, choice)
        if differing not in found:
            found.append(differing)
    if len(found) < 2:
        raise InvalidInputError("There is nothing to try: the space holds only the settings that are in force.")
    return found


def _tuning(dataset: str, metric: str, queries: int, trials: Sequence[Trial], seed: int) -> Tuning:
    finalists = [trial for trial in trials if trial.rounds == trials[0].rounds]
    winner, current = trials[0], next(trial for trial in trials if not trial.changes)
    against = None
    if winner is not current:
        (against,) = compare(metric, {CURRENT: current.values, WINNER: winner.values}, seed)
    return Tuning(
        dataset=dataset, metric=metric, queries=queries, searches=sum(len(trial.values) for trial in trials),
        trials=tuple(trials), front=front(finalists, lambda trial: trial.quality, lambda trial: trial.latency),
        winner=winner, current=current, against=against,
    )  # fmt: skip


def tuning_as_json(found: Tuning) -> dict[str, Any]:
    """The search as JSON types."""
    against = found.against
    return {
        "dataset": found.dataset, "split": "dev", "metric": found.metric, "queries": found.queries,
        "searches": found.searches, "winner": _as_json(found.winner), "current": _as_json(found.current),
        "front": [_as_json(trial) for trial in found.front], "trials": [_as_json(trial) for trial in found.trials],
        "difference": against.difference if against else 0.0,
        "interval": list(against.interval) if against else [0.0, 0.0], "p": against.p if against else 1.0,
        "toml": found.toml, "verdict": found.verdict(),
    }  # fmt: skip


def _as_json(trial: Trial) -> dict[str, Any]:
    return {
        "settings": dict(trial.changes), "quality": trial.quality, "latency_ms": trial.latency,
        "queries": len(trial.values), "rounds": trial.rounds,
    }  # fmt: skip
