"""Successive halving: try many settings on few questions, and the better half of them on more."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Protocol

from evals.space import Changes
from rag.errors import InvalidInputError

FIRST_SAMPLE = 50
SMALLEST_SAMPLE = 10
FINALISTS = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """Some questions under one choice of settings, by query id."""

    values: Mapping[str, float]
    milliseconds: Mapping[str, float]


class Measure(Protocol):
    """Asks some questions under some settings."""

    async def __call__(self, changes: Changes, queries: Sequence[str]) -> Measured:
        """Every query in turn; a query that finds nothing has the value 0."""


@dataclass
class Trial:
    """One choice of settings, and what was measured of it so far. `rounds` counts those that it took part in."""

    changes: Changes
    values: dict[str, float] = field(default_factory=dict)
    milliseconds: dict[str, float] = field(default_factory=dict)
    rounds: int = 0

    @property
    def quality(self) -> float:
        """Mean over the questions asked."""
        return fmean(self.values.values())

    @property
    def latency(self) -> float:
        """Median milliseconds of one search."""
        return median(self.milliseconds.values())


@dataclass(frozen=True, slots=True)
class Round:
    """What was done: so many trials have now answered so many questions."""

    number: int
    rounds: int
    trials: int
    queries: int


def first_sample(trials: int, queries: int, budget: int | None) -> int:
    """How many questions the first round asks each trial.

    The sample doubles when the trials halve, so every round after the first costs half of the first one.

    Raises:
        InvalidInputError: the budget does not give every trial enough questions to be judged by.
    """
    smallest, wanted = min(SMALLEST_SAMPLE, queries), min(FIRST_SAMPLE, queries)
    if budget is None:
        return wanted
    cost = trials * (1 + rounds_of(trials) / 2)
    if budget < smallest * cost:
        raise InvalidInputError(
            f"{budget} searches are too few to compare {trials} choices of settings: allow "
            f"{math.ceil(smallest * cost)} or more with --budget, or name fewer values in --space."
        )
    return min(queries, max(smallest, int(budget / cost)))


def rounds_of(trials: int) -> int:
    """How often the trials are halved until the finalists are left."""
    return max(0, math.ceil(math.log2(trials / FINALISTS)))


async def halve(
    candidates: Sequence[Changes],
    queries: Sequence[str],
    measure: Measure,
    *,
    budget: int | None = None,
    seed: int = 0,
    on_round: Callable[[Round], None] = lambda _: None,
) -> tuple[Trial, ...]:
    """Find the best of many choices without asking each of them everything.

    Samples are nested, so no search is done twice. The first candidate, which is what the user has now, and the
    fastest one are kept to the end besides the better half: a gain is a gain over the former, and a front of quality
    against latency without its fast end is none.

    Args:
        candidates: what to try; the first is the one to beat.
        queries: ids of the questions of the dev split.
        budget: searches to do at most, all together; None asks the finalists everything.

    Returns:
        Every trial, those that went furthest first, then the best first; ties by latency.

    Raises:
        InvalidInputError: the budget is too small.

    Source: Karnin et al., "Almost Optimal Exploration in Multi-Armed Bandits", ICML 2013.
    """
    order = list(queries)
    random.Random(seed).shuffle(order)
    trials = [Trial(changes) for changes in candidates]
    rounds = rounds_of(len(trials))
    size = first_sample(len(trials), len(order), budget)
    alive, left = trials, math.inf if budget is None else budget
    for number in range(1, rounds + 2):
        asked = len(alive[0].values)
        affordable = len(order) if math.isinf(left) else asked + int(left) // len(alive)
        # The finalists get all that is left.
        size = min(len(order), affordable, size if number <= rounds else affordable)
        left -= await _ask(alive, order[:size], measure)
        on_round(Round(number, rounds + 1, len(alive), size))
        if number <= rounds:
            alive, size = _better_half(alive, trials[0]), size * 2
    return tuple(sorted(trials, key=lambda trial: (-trial.rounds, *_rank(trial))))


async def _ask(trials: Sequence[Trial], queries: Sequence[str], measure: Measure) -> int:
    """Ask each trial those of the questions that it has not been asked; returns how many searches it took."""
    searches = 0
    for trial in trials:
        trial.rounds += 1
        new = [query for query in queries if query not in trial.values]
        if new:
            measured = await measure(trial.changes, new)
            trial.values.update(measured.values)
            trial.milliseconds.update(measured.milliseconds)
            searches += len(new)
    return searches


def _better_half(trials: Sequence[Trial], current: Trial) -> list[Trial]:
    kept = sorted(trials, key=_rank)[: math.ceil(len(trials) / 2)]
    for one in (current, min(trials, key=lambda trial: trial.latency)):
        if not any(one is other for other in kept):
            kept.append(one)
    return kept


def _rank(trial: Trial) -> tuple[float, float]:
    return -trial.quality, trial.latency
