"""Fits how surely retrieval tells that a question is answered, and measures the refusals that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rag.answerability import SIGNALS, Calibration
from rag.errors import InvalidInputError

LEAST_CASES: Final = 10
FOLDS: Final = 5
# How much a weight may leave the one it starts from: a few dozen cases move it little, a few hundred where they want.
STRENGTH: Final = 1.0
ITERATIONS: Final = 100

Group = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """The signs of one question, and whether the documents answer it.

    `group` is a dataset and a kind of question; the groups count alike in a fit, however many questions each has.
    """

    signals: Mapping[str, float]
    is_answerable: bool
    group: Group = ("", "")


@dataclass(frozen=True, slots=True)
class Refusals:
    """What a threshold comes to over some questions; a share is None where nothing could be counted.

    Attributes:
        area: under the ROC curve of the probabilities, 0.5 for chance.
        precision: of the questions refused, those that the documents do not answer.
        recall: of the questions that they do not answer, those refused.
        lost: of the questions that they answer, those refused.
    """

    cases: int
    area: float | None
    precision: float | None
    recall: float | None
    lost: float | None


def fit(
    judged: Sequence[Judged], embedder: str, *, lost: float, prior: Calibration | None = None, fitted_on: str = ""
) -> tuple[Calibration, NDArray[np.float64]]:
    """Fit the weights, and choose the threshold at which a given share of the answerable questions is refused.

    Args:
        judged: at least ten questions that the documents answer, and ten that they do not.
        lost: that share, 0 to 1, of probabilities that were fitted without the question itself.
        prior: weights to start from; few questions leave them nearly as they are.

    Returns:
        The calibration, and the probability of each question by a fit without its fold, shape (len(judged),).

    Raises:
        InvalidInputError: there are too few questions of a kind.
    """
    wanted = np.array([each.is_answerable for each in judged])
    if min(wanted.sum(), (~wanted).sum()) < LEAST_CASES:
        raise InvalidInputError(
            f"There are {wanted.sum()} questions with an answer and {(~wanted).sum()} without; a fit needs "
            f"{LEAST_CASES} of each. quoth eval synthesize writes both kinds."
        )
    signs = np.array([[each.signals[name] for name in SIGNALS] for each in judged])
    shares = _shares(judged)
    start = np.zeros(len(SIGNALS)) if prior is None else np.array([prior.weights.get(name, 0.0) for name in SIGNALS])
    held_out = np.empty(len(judged))
    folds = np.arange(len(judged)) % FOLDS
    for fold in range(FOLDS):
        inside = folds != fold
        weights, bias = logistic(signs[inside], wanted[inside], shares[inside], start, STRENGTH)
        held_out[~inside] = _sigmoid(signs[~inside] @ weights + bias)
    weights, bias = logistic(signs, wanted, shares, start, STRENGTH)
    rounded = {name: round(float(weight), 4) for name, weight in zip(SIGNALS, weights, strict=True)}
    threshold = round(_quantile(held_out[wanted], shares[wanted], lost), 3)
    return Calibration(embedder, rounded, round(bias, 4), threshold, fitted_on, len(judged)), held_out


def logistic(
    signs: NDArray[np.float64],
    wanted: NDArray[np.bool_],
    shares: NDArray[np.float64],
    start: NDArray[np.float64],
    strength: float,
) -> tuple[NDArray[np.float64], float]:
    """Logistic regression by Newton's method, its weights drawn to where they start.

    Args:
        signs: shape (cases, signs).
        wanted: shape (cases,).
        shares: how much each case counts, shape (cases,).
        start: shape (signs,); the bias is free.
        strength: of the draw: half of it times the squared distance is added to the loss.

    Returns:
        Weights, shape (signs,), and bias.
    """
    columns = np.column_stack([signs, np.ones(len(signs))])
    centre, draw = np.append(start, 0.0), np.append(np.full(len(start), strength), 0.0)
    found = centre.copy()
    for _ in range(ITERATIONS):
        likely = _sigmoid(columns @ found)
        slope = columns.T @ (shares * (likely - wanted)) + draw * (found - centre)
        curve = (columns * (shares * likely * (1 - likely))[:, None]).T @ columns + np.diag(draw)
        step = np.linalg.solve(curve + 1e-9 * np.eye(len(found)), slope)
        found -= step / max(1.0, float(np.abs(step).max()) / 5)  # far from the end a whole step may lead astray
        if np.abs(step).max() < 1e-9:
            break
    return found[:-1], float(found[-1])


def measure(probabilities: NDArray[np.float64], judged: Sequence[Judged], threshold: float) -> Refusals:
    """What refusing below a threshold comes to."""
    wanted = np.array([each.is_answerable for each in judged], bool)
    refused = probabilities < threshold
    return Refusals(
        cases=len(judged), area=area(probabilities, wanted), precision=_share(~wanted, refused),
        recall=_share(refused, ~wanted), lost=_share(refused, wanted),
    )  # fmt: skip


def area(scores: NDArray[np.float64], wanted: NDArray[np.bool_]) -> float | None:
    """The chance that a question with an answer scores above one without, ties as half; None without both kinds."""
    positive, negative = scores[wanted], scores[~wanted]
    if not (len(positive) and len(negative)):
        return None
    order = np.sort(negative)
    below = np.searchsorted(order, positive, "left") + np.searchsorted(order, positive, "right")
    return float(below.sum() / 2 / len(positive) / len(negative))


def _shares(judged: Sequence[Judged]) -> NDArray[np.float64]:
    """Groups count alike, and so do questions with an answer and those without."""
    kinds = np.array([each.is_answerable for each in judged])
    names = np.array(["\0".join(each.group) for each in judged])
    shares = np.ones(len(judged))
    for kind in (True, False):
        groups = np.unique(names[kinds == kind])
        for group in groups:
            mine = (kinds == kind) & (names == group)
            shares[mine] = len(judged) / 2 / len(groups) / mine.sum()
    return shares


def _quantile(values: NDArray[np.float64], shares: NDArray[np.float64], at: float) -> float:
    order = np.argsort(values)
    reached = np.cumsum(shares[order]) / shares.sum()
    return float(values[order][min(int(np.searchsorted(reached, at)), len(values) - 1)])


def _share(of: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
    return float(of[among].mean()) if among.any() else None


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return found
