"""Whether a change made a system worse: for a build that must not pass when it did, and must not fail for noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evals.compare import Entrant, SideBySide, as_json, side_by_side
from evals.figures import count, interval, is_lower_better, metric_name, score
from rag.errors import InvalidInputError

MARGIN = 0.01
FEW_QUESTIONS = 30


@dataclass(frozen=True)
class GateResult:
    """The verdict.

    Attributes:
        pair: the baseline is `a`, the candidate `b`.
        loss: 95 % interval of what was lost; positive is worse, whichever way the metric points.
    """

    pair: SideBySide
    margin: float
    has_passed: bool
    loss: tuple[float, float]

    def sentence(self) -> str:
        """The verdict, for people."""
        name, pair = metric_name(self.pair.metric), self.pair
        verb = "stayed at" if score(pair.mean_a) == score(pair.mean_b) else "fell from" if _fell(pair) else "rose from"
        figures = f"{score(pair.mean_a)}" + ("" if verb == "stayed at" else f" to {score(pair.mean_b)}")
        start = f"{name} {verb} {figures} on {count(len(pair.changes), 'question')}"
        seen = f"95 % interval of the difference {interval(pair.comparison.interval, with_signs=True)}"
        few = (
            f" So few questions can hide a loss: have {FEW_QUESTIONS} or more."
            if len(pair.changes) < FEW_QUESTIONS
            else ""
        )
        if not self.has_passed:
            return f"FAIL: {start}; chance does not explain a loss beyond the margin of {score(self.margin)} ({seen}).{few}"
        if self.loss[0] > 0:
            return f"PASS: {start}; that is worse, but not surely by more than the margin of {score(self.margin)} ({seen}).{few}"
        if self.loss[1] < 0:
            return f"PASS: {start}; that is better, and chance does not explain it ({seen}).{few}"
        return f"PASS: {start}; chance explains a difference of this size ({seen}).{few}"


def gate(
    baseline: Entrant, candidate: Entrant, metric: str | None = None, *, margin: float = MARGIN, seed: int = 0
) -> GateResult:
    """Fail only where the candidate is surely worse by more than a margin.

    It fails when the whole 95 % bootstrap interval of the mean difference, paired by question, lies beyond the margin.
    Where the true loss equals the margin that happens in 2.5 % of builds, and far less often where nothing was lost; a
    test checks both by simulation. The interval is preferred to a randomisation test of "loss > margin", because
    flipping signs around a margin asks for symmetric differences, and those of retrieval metrics, mostly zero with
    a long tail, are not; and because it is the interval that `compare` and `report` show, so that anyone can see
    why a build failed.

    Args:
        metric: None takes nDCG@10, or F1 of answers.
        margin: a loss up to this is accepted, in units of the metric.
        seed: of the resampling.

    Raises:
        InvalidInputError: the margin is negative, the metric is missing, the data differ, or the candidate leaves
            out questions of the baseline, among which a loss could hide.
    """
    if not 0 <= margin < 1:
        raise InvalidInputError(f"The margin must lie in 0 to 1, not {margin}.")
    (pair,) = side_by_side((baseline, candidate), metric, seed=seed)
    if pair.only_a:
        raise InvalidInputError(
            f"The candidate leaves out {count(pair.only_a, 'question')} of the baseline, among which a loss could hide. "
            "Measure it on all of them, or make a baseline of the same questions."
        )
    low, high = pair.comparison.interval
    loss = (low, high) if is_lower_better(pair.metric) else (-high, -low)
    return GateResult(pair, margin, has_passed=loss[0] <= margin, loss=loss)


def gate_as_json(found: GateResult) -> dict[str, Any]:
    """The verdict as JSON types."""
    return {
        "has_passed": found.has_passed,
        "margin": found.margin,
        "sentence": found.sentence(),
        **as_json(found.pair),
    }


def _fell(pair: SideBySide) -> bool:
    return pair.mean_b < pair.mean_a
