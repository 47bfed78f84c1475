"""The curve and its area, against calculations by hand."""

import random

import pytest

from evals.risk_coverage import area_interval, risk_coverage


def test_the_area_of_four_cases() -> None:
    # In order of confidence: right, wrong, right, wrong. Risks 0, 1/2, 1/3, 1/2.
    found = risk_coverage([0.1, 0.9, 0.4, 0.7], [1, 0, 0, 1])
    assert found.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    # The best order: right, right, wrong, wrong. Risks 0, 0, 1/3, 1/2.
    assert found.excess == pytest.approx(found.area - (1 / 3 + 1 / 2) / 4)
    assert [(p.coverage, p.confidence) for p in found.points] == [(0.25, 0.9), (0.5, 0.7), (0.75, 0.4), (1, 0.1)]
    assert [p.risk for p in found.points] == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert (found.coverage, found.risk) == (1, 0.5)


def test_equal_confidence_is_the_mean_over_all_orders() -> None:
    # Wrong first: 1, 1/2. Right first: 0, 1/2. Mean risks: 1/2, 1/2.
    found = risk_coverage([0.5, 0.5], [1, 0])
    assert found.area == pytest.approx(0.5)
    assert len(found.points) == 1


def test_a_refusal_stands_behind_all_answers_and_counts_as_wrong() -> None:
    # Right, wrong, then a refusal: 0, 1/2, 2/3.
    found = risk_coverage([None, 0.2, 0.8], [0, 1, 0])
    assert found.area == pytest.approx((0 + 1 / 2 + 2 / 3) / 3)
    assert found.points[-1].confidence is None
    assert found.coverage == pytest.approx(2 / 3)
    assert found.risk == 0.5


def test_whoever_refuses_all_has_the_area_one() -> None:
    found = risk_coverage([None, None], [0, 1])
    assert (found.area, found.coverage, found.risk) == (1, 0, 0)


def test_a_perfect_order_has_no_excess_and_the_worst_has_the_most() -> None:
    draw = random.Random(3)
    losses = [float(draw.random() < 0.4) for _ in range(50)]
    perfect = risk_coverage([1 - loss for loss in losses], losses)
    worst = risk_coverage(losses, losses)
    chance = risk_coverage([draw.random() for _ in losses], losses)
    assert perfect.excess == pytest.approx(0)
    assert 0 < chance.excess < worst.excess


def test_the_interval_holds_the_area() -> None:
    draw = random.Random(4)
    losses = [float(draw.random() < 0.3) for _ in range(80)]
    sure = [draw.random() - loss / 2 if draw.random() < 0.9 else None for loss in losses]
    low, high = area_interval(sure, losses, resamples=300)
    assert 0 < low < risk_coverage(sure, losses).area < high < 1


@pytest.mark.parametrize(("sure", "losses"), [([], []), ([0.5], [0, 1])])
def test_what_does_not_fit_is_refused(sure: list[float], losses: list[float]) -> None:
    with pytest.raises(ValueError, match="as many confidences"):
        risk_coverage(sure, losses)


def test_a_curve_as_json() -> None:
    found = risk_coverage([0.9, None], [0, 0]).as_dict()
    assert found["points"] == [[0.5, 0.0, 0.9], [1.0, 0.5, None]]
    assert found["area"] == 0.25
