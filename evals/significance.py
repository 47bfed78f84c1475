"""Whether a difference is more than luck: paired randomisation, bootstrap intervals, Holm's correction.

Sources: Fisher, "The Design of Experiments", 1935; Smucker, Allan and Carterette, "A Comparison of Statistical
Significance Tests for Information Retrieval Evaluation", CIKM 2007; Efron and Tibshirani, "An Introduction to the
Bootstrap", 1993; Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from evals.records import Comparison
from rag.errors import InvalidInputError

Values = NDArray[np.float64]

LEVEL = 0.05
_NUMBERS_AT_ONCE = 1 << 20  # 8 MiB, however many queries there are
_EQUAL = 1e-11  # sums of the same numbers in another order differ by less, relative to their size


def paired_randomisation(a: Values, b: Values, rounds: int = 10_000, seed: int = 0) -> float:
    """The two-sided p of Fisher's paired randomisation test.

    Under the null hypothesis the two values of a query could as well be swapped. p is the share of swaps that give a
    difference of means at least as large as the one observed: of all swaps where they are no more than about
    `rounds`, else of so many random ones, the observed one counted among them, so that p is never 0.

    Args:
        a: value of each query under one system, shape (queries,).
        b: the same queries under the other, in the same order.
        rounds: random swaps of the signs of all differences.
        seed: of these.

    Raises:
        InvalidInputError: the two differ in length, there are no values, or one is not finite.
    """
    differences = _differences(a, b)
    sizes = np.abs(differences[differences != 0])
    if not len(sizes):
        return 1.0
    total = float(sizes.sum())
    observed = abs(float(differences.sum())) - _EQUAL * total
    # Swapping everything only turns the sign, so one query may stay as it is.
    if len(sizes) - 1 <= math.log2(rounds):
        swaps, extra = _every_swap(len(sizes)), 0
    else:
        swaps, extra = _random_swaps(len(sizes), rounds, np.random.default_rng(seed)), 1
    tried = reached = 0
    for swap in swaps:
        tried += len(swap)
        reached += int((np.abs(total - 2 * (swap @ sizes)) >= observed).sum())
    return (reached + extra) / (tried + extra)


def bootstrap_interval(values: Values, level: float = 0.95, rounds: int = 2_000, seed: int = 0) -> tuple[float, float]:
    """The percentile bootstrap interval of a mean.

    With few values it is narrow: of skewed ones (beta, 0.5 and 1.5) it held the true mean in 88 % of 1,500 trials with
    10 values, 92 % with 20, 94 % with 30.

    Args:
        values: one for each query, shape (queries,).
        level: share of such intervals that hold the true mean.
        rounds: resamples.
        seed: of these.

    Raises:
        InvalidInputError: there are no values, or one is not finite.
    """
    _check(values)
    draw = np.random.default_rng(seed)
    means = np.concatenate(
        [values[draw.integers(len(values), size=(rows, len(values)))].mean(axis=1) for rows in _rows(rounds, values)]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_difference(
    a: Values, b: Values, level: float = 0.95, rounds: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of mean(b) - mean(a), the queries being drawn in pairs.

    Raises:
        InvalidInputError: as `paired_randomisation`.
    """
    return bootstrap_interval(_differences(a, b), level, rounds, seed)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust the ps of one family of tests, so that one false alarm among all is as rare as in a single test."""
    adjusted = [0.0] * len(ps)
    least = 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = least
    return adjusted


def queries_needed(a: Values, b: Values, power: float = 0.8, level: float = LEVEL) -> int | None:
    """About so many queries would show a difference of this size and spread.

    By the normal approximation, with Guenther's correction for an estimated variance; never fewer than the
    randomisation test needs to reach `level` at all.

    Args:
        a: value of each query, shape (queries,).
        b: the same queries under the other system.
        power: the chance to find the difference significant.
        level: of the two-sided test.

    Returns:
        The number, or None where there is no difference or fewer than two queries.

    Raises:
        InvalidInputError: as `paired_randomisation`.
    """
    differences = _differences(a, b)
    difference = abs(float(differences.mean()))
    if len(differences) < 2 or difference <= _EQUAL * float(np.abs(differences).mean()):
        return None
    quantile = NormalDist().inv_cdf
    alarm = quantile(1 - level / 2)
    ratio = float(differences.std(ddof=1)) / difference
    needed = ((alarm + quantile(power)) * ratio) ** 2 + alarm**2 / 2
    return max(math.ceil(needed), math.ceil(1 - math.log2(level)))


def compare(
    metric: str, systems: Mapping[str, Mapping[str, float]], seed: int = 0, rounds: int = 10_000
) -> tuple[Comparison, ...]:
    """Every pair of systems on one metric, Holm's correction over all pairs.

    Args:
        metric: its name, for the records.
        systems: name -> query id -> value; each over the same queries.
        seed: of the resampling.
        rounds: of the randomisation test.

    Returns:
        Pairs in the order of `systems`, the earlier as `a`. `queries_needed` is for the level that Holm's correction
        asks of the smallest p, 0.05 / pairs, and more than there are now.

    Raises:
        InvalidInputError: two systems were measured on different queries, or on none.
    """
    arrays = _aligned(systems)
    pairs = list(combinations(arrays, 2))
    ps = [paired_randomisation(arrays[a], arrays[b], rounds, seed) for a, b in pairs]
    found = []
    for (a, b), p, adjusted in zip(pairs, ps, holm(ps), strict=True):
        needed = None
        if adjusted > LEVEL:
            needed = queries_needed(arrays[a], arrays[b], level=LEVEL / len(pairs))
        found.append(
            Comparison(
                metric=metric,
                a=a,
                b=b,
                difference=float(_differences(arrays[a], arrays[b]).mean()),
                interval=bootstrap_difference(arrays[a], arrays[b], seed=seed),
                p=p,
                p_adjusted=adjusted,
                queries_needed=needed and max(needed, len(arrays[a]) + 1),
            )
        )
    return tuple(found)


def _aligned(systems: Mapping[str, Mapping[str, float]]) -> dict[str, Values]:
    """The values of every system in one order of the queries."""
    queries: list[str] | None = None
    first = ""
    arrays: dict[str, Values] = {}
    for name, values in systems.items():
        if queries is None:
            queries, first = sorted(values), name
        other = values.keys() ^ set(queries)
        if other:
            raise InvalidInputError(
                f"{first!r} and {name!r} were measured on different queries; {min(other)!r} is in one of them only. "
                "Run both on the same dataset and split."
            )
        arrays[name] = np.array([values[query] for query in queries], dtype=np.float64)
    return arrays


def _differences(a: Values, b: Values) -> Values:
    """b - a, shape (queries,)."""
    if a.shape != b.shape:
        raise InvalidInputError(
            f"Values of {len(a)} and of {len(b)} queries cannot be paired. Measure both systems on the same queries."
        )
    differences = np.asarray(b, dtype=np.float64) - a
    _check(differences)
    return differences


def _check(values: Values) -> None:
    if values.ndim != 1 or not len(values):
        raise InvalidInputError("There are no queries to compare. Check that the dataset's split judges some.")
    if not np.isfinite(values).all():
        raise InvalidInputError("A value is not a finite number, so no mean can be taken. Leave its query out.")


def _every_swap(count: int) -> Iterator[Values]:
    """All 2^(count - 1) ways to swap all but the last, as rows of 0 and 1, in pieces of shape (rows, count)."""
    patterns = 1 << (count - 1)
    rows = max(1, _NUMBERS_AT_ONCE // count)
    for start in range(0, patterns, rows):
        numbers = np.arange(start, min(start + rows, patterns))
        yield (numbers[:, None] >> np.arange(count) & 1).astype(np.float64)


def _random_swaps(count: int, rounds: int, draw: np.random.Generator) -> Iterator[Values]:
    """`rounds` rows of random 0 and 1, in pieces of shape (rows, count)."""
    width = (count + 7) // 8
    most = max(1, _NUMBERS_AT_ONCE // count)
    for start in range(0, rounds, most):
        rows = min(most, rounds - start)
        packed = np.frombuffer(draw.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        yield np.unpackbits(packed, axis=1, count=count).astype(np.float64)


def _rows(rounds: int, values: Values) -> Iterator[int]:
    """Row counts that add up to `rounds`, each small enough to be drawn at once."""
    most = max(1, _NUMBERS_AT_ONCE // len(values))
    for start in range(0, rounds, most):
        yield min(most, rounds - start)
