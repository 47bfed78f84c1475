"""How wrong the answers are when only the surest are given: the risk-coverage curve and its area.

Cases are ordered by confidence, the surest first. At coverage `k / n` the first `k` of all `n` cases are answered, and
the risk is the share of wrong ones among them. A refused case has no answer that could be judged: it stands behind all
answered ones and counts as wrong there, which is true of every question that cannot be answered, and cautious for the
others. So every system's curve runs over the same cases up to coverage 1, and one that refuses all has the area 1.

Source: El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification", JMLR 2010; the area and its
excess over the best order as in Geifman et al., "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers",
ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Answering all cases of at least this confidence; `confidence` is None where refused cases are in."""

    coverage: float
    risk: float
    confidence: float | None


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """A curve, and what it says in one number.

    Attributes:
        points: one for each confidence that occurs, by coverage.
        area: mean risk over all coverages, 0 to 1, the lower the better (AURC).
        excess: the area above the one that the best order of the same cases would have (E-AURC).
        coverage: share of cases that the product answers as it is; `risk` the share of wrong ones among these.
    """

    points: tuple[CurvePoint, ...]
    area: float
    excess: float
    coverage: float
    risk: float

    def as_dict(self) -> dict[str, Any]:
        """As JSON types; a point is `[coverage, risk, confidence]`."""
        points = [[p.coverage, p.risk, p.confidence] for p in self.points]
        return {**asdict(self), "points": points}


def risk_coverage(confidences: Sequence[float | None], losses: Sequence[float]) -> RiskCoverage:
    """The curve of these cases.

    Args:
        confidences: one for each case, on any scale, the higher the surer; None where the product refused.
        losses: 1 where the answer is wrong, 0 where it is right; not looked at where the product refused.

    Raises:
        ValueError: the lists differ in length, or are empty.
    """
    if not losses or len(confidences) != len(losses):
        raise ValueError("risk_coverage needs as many confidences as losses, and at least one")
    sure = np.array([-np.inf if value is None else value for value in confidences], dtype=np.float64)
    lost = np.where(np.isneginf(sure), 1.0, np.asarray(losses, dtype=np.float64))
    risks, ends, levels = _expected_risks(sure, lost)
    answered = ~np.isneginf(sure)
    count = len(lost)
    points = tuple(
        CurvePoint(float((end + 1) / count), float(risks[end]), None if np.isneginf(level) else float(level))
        for end, level in zip(ends, levels, strict=True)
    )
    best = float(_expected_risks(-lost, lost)[0].mean())
    area = float(risks.mean())
    return RiskCoverage(
        points=points, area=area, excess=area - best, coverage=float(answered.mean()),
        risk=float(lost[answered].mean()) if answered.any() else 0.0,
    )  # fmt: skip


def area_interval(
    confidences: Sequence[float | None], losses: Sequence[float], *, seed: int = 0, resamples: int = 1000
) -> tuple[float, float]:
    """95 % bootstrap interval of the area: cases drawn with replacement, percentiles of their areas."""
    sure = np.array([-np.inf if value is None else value for value in confidences], dtype=np.float64)
    lost = np.where(np.isneginf(sure), 1.0, np.asarray(losses, dtype=np.float64))
    draw = np.random.default_rng(seed)
    areas = np.empty(resamples)
    for number in range(resamples):
        chosen = draw.integers(0, len(lost), len(lost))
        areas[number] = _expected_risks(sure[chosen], lost[chosen])[0].mean()
    low, high = np.percentile(areas, [2.5, 97.5])
    return float(low), float(high)


def _expected_risks(sure: np.ndarray, lost: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Risk at each coverage; cases of equal confidence come in every order alike, so their losses are spread evenly.

    Returns:
        Risks, shape (n,); the last place of each group of equal confidence; the confidence of each group.
    """
    order = np.argsort(-sure, kind="stable")
    levels, losses = sure[order], lost[order]
    ends = np.append(np.flatnonzero(levels[1:] != levels[:-1]), len(levels) - 1)
    sizes = np.diff(ends, prepend=-1)
    sums = np.diff(np.cumsum(losses)[ends], prepend=0.0)
    spread = np.cumsum(np.repeat(sums / sizes, sizes))
    return spread / np.arange(1, len(levels) + 1), ends, levels[ends]
