"""How figures are said to people: names of metrics, scores, differences, chances."""

from __future__ import annotations

NAMES = {
    "ndcg": "nDCG", "mrr": "MRR", "map": "MAP", "recall": "Recall", "precision": "Precision", "success": "Success",
    "iou": "IoU", "f1": "F1", "em": "Exact match",
}  # fmt: skip

LOWER_IS_BETTER = {"risk", "aurc", "unsupported", "weak", "error", "tokens", "price", "ms", "seconds"}


def metric_name(metric: str) -> str:
    """`ndcg@10` as people write it: nDCG@10."""
    name, at, depth = metric.partition("@")
    said = NAMES.get(name, f"{name[:1].upper()}{name[1:]}".replace("_", " "))
    return f"{said}{at}{depth}"


def metric_title(metric: str) -> str:
    """The name, and which way is better where that is not upwards."""
    return f"{metric_name(metric)} (less is better)" if is_lower_better(metric) else metric_name(metric)


def is_lower_better(metric: str) -> bool:
    """Whether less of it is better, as of a risk, a time or a price."""
    return not LOWER_IS_BETTER.isdisjoint(metric.partition("@")[0].split("_"))


def score(value: float) -> str:
    """A score to three digits: .512, 1.000, −.041; larger figures with fewer."""
    said = f"{abs(value):.3f}" if abs(value) < 10 else f"{abs(value):,.1f}"
    return ("−" if value < 0 and float(said.replace(",", "")) else "") + said.removeprefix("0")


def signed(value: float) -> str:
    """A difference, with its sign: +.041, −.041, .000."""
    said = score(value)
    return said if said.startswith("−") or said == ".000" else f"+{said}"


def interval(low_high: tuple[float, float], *, with_signs: bool = False) -> str:
    """Both ends: `.480 to .543`."""
    say = signed if with_signs else score
    return f"{say(low_high[0])} to {say(low_high[1])}"


def chance(p: float) -> str:
    """`p = .012`, or `p < .001`."""
    return "p < .001" if p < 0.001 else f"p = {score(p)}"


def count(number: int, noun: str) -> str:
    """`1 question`, `225 questions`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
