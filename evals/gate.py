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
        pair, margin = self.pair, score(self.margin)
        before, after = score(pair.mean_a), score(pair.mean_b)
        verb = "fell" if pair.mean_b < pair.mean_a else "rose"
        moved = f"stayed at {before}" if before == after else f"{verb} from {before} to {after}"
        seen = f"95 % interval of the difference {interval(pair.comparison.interval, with_signs=True)}"
        if not self.has_passed:
            meaning = f"that is worse by more than the margin of {margin}, and chance does not explain it"
        elif self.loss[0] > 0:
            meaning = f"that is worse, but not surely by more than the margin of {margin}"
        elif self.loss[1] < 0:
            meaning = "that is better, and chance does not explain it"
        else:
            meaning = "chance explains a difference of this size"
        few = f" So few questions hide losses: have {FEW_QUESTIONS} or more." if self.has_few_questions else ""
        return (
            f"{'PASS' if self.has_passed else 'FAIL'}: {metric_name(pair.metric)} {moved} on "
            f"{count(len(pair.changes), 'question')}; {meaning} ({seen}).{few}"
        )

    @property
    def has_few_questions(self) -> bool:
        """Whether there are too few to notice anything but a landslide."""
        return len(self.pair.changes) < FEW_QUESTIONS


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
            f"The candidate has no {metric_name(pair.metric)} for {count(pair.only_a, 'question')} of the baseline, "
            "among which a loss could hide. Measure it on all of them, or judge by a metric that every question has."
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
