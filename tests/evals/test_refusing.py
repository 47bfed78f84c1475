"""Fits of refusals, against scikit-learn's figures."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from evals.refusing import Judged, area, fit, logistic, measure
from rag.answerability import SIGNALS, Calibration
from rag.errors import InvalidInputError


def drawn(count: int, seed: int = 0) -> list[Judged]:
    draw = np.random.default_rng(seed)
    kinds = draw.random(count) < 0.6
    values = draw.random((count, len(SIGNALS))) + kinds[:, None] * np.linspace(0, 0.4, len(SIGNALS))
    return [
        Judged(dict(zip(SIGNALS, map(float, row), strict=True)), bool(kind), ("set", str(at % 2)))
        for at, (row, kind) in enumerate(zip(values, kinds, strict=True))
    ]


def test_the_regression_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(1)
    signs, shares = draw.normal(size=(400, 5)), draw.random(400) + 0.1
    wanted = draw.random(400) < 1 / (1 + np.exp(-(signs @ [2.0, -1.0, 0.5, 0.0, 3.0]) - 0.7))
    weights, bias = logistic(signs, wanted, shares, np.zeros(5), 2.0)
    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000).fit(signs, wanted, sample_weight=shares)
    assert weights == pytest.approx(theirs.coef_[0], abs=1e-5)
    assert bias == pytest.approx(theirs.intercept_[0], abs=1e-5)


def test_areas_and_shares_are_those_of_scikit_learn() -> None:
    judged = drawn(300)
    wanted = np.array([each.is_answerable for each in judged])
    scores = np.round(np.random.default_rng(2).random(300), 1)  # with ties
    assert area(scores, wanted) == pytest.approx(roc_auc_score(wanted, scores))
    found = measure(scores, judged, 0.5)
    assert found.precision == pytest.approx(precision_score(~wanted, scores < 0.5))
    assert found.recall == pytest.approx(recall_score(~wanted, scores < 0.5))
    assert found.lost == pytest.approx((scores[wanted] < 0.5).mean())


def test_the_threshold_loses_about_what_it_may() -> None:
    judged = drawn(2000)
    for lost in (0.02, 0.1, 0.3):
        fitted, held_out = fit(judged, "m", lost=lost)
        assert measure(held_out, judged, fitted.threshold).lost == pytest.approx(lost, abs=0.01)
    assert measure(held_out, judged, 0.5).area > 0.7


def test_few_cases_leave_the_weights_nearly_where_they_start() -> None:
    prior = Calibration("m", dict.fromkeys(SIGNALS, 4.0), -10.0, 0.4)
    few, _ = fit(drawn(40), "m", lost=0.05, prior=prior)
    many, _ = fit(drawn(4000), "m", lost=0.05, prior=prior)
    free, _ = fit(drawn(4000), "m", lost=0.05)

    def distance(one: Calibration, other: Calibration) -> float:
        return sum(abs(one.weights[name] - other.weights[name]) for name in SIGNALS)

    assert distance(few, prior) < distance(many, prior)
    assert distance(many, free) < distance(few, free)


def test_too_few_of_a_kind_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="needs 10 of each"):
        fit([each for each in drawn(100) if each.is_answerable], "m", lost=0.05)
