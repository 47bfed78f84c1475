"""Two systems side by side, as a part of the HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from evals.compare import Change, SideBySide
from evals.figures import chance, count, interval, metric_name, score, signed
from evals.report_parts import bdi, card, detail, grid, plot, table
from evals.report_plots import histogram, scatter
from evals.sections import CHANGED


def pair_parts(pair: SideBySide) -> str:
    """Each question under both, how far they moved, whether it is real, and those that changed most."""
    name = metric_name(pair.metric)
    dots = plot(scatter(f"{name} of each question, {pair.a} and {pair.b}", pair), f"{name} by question")
    moved = plot(histogram(f"Changes of {name}, {pair.a} to {pair.b}", pair.changes), f"Changes of {name}")
    about_dots = (
        f"{escape(name)} of each question; above the line it is higher with {bdi(pair.b)}. A larger dot is several "
        f"questions in one place.{_left_out(pair)}"
    )
    left = card(f"{bdi(pair.b)} against {bdi(pair.a)}", dots + detail("dot"), about_dots, is_picture=True)
    about_moved = f"Questions by the change of their {escape(name)}."
    right = card("How far they moved", moved + detail("bar"), about_moved, is_picture=True) + card(
        "Is it real?", _decision(pair)
    )
    return grid(left, right) + card("Questions that changed most", _changed(pair))


def _left_out(pair: SideBySide) -> str:
    found = [
        f"{count(missing, 'question')} only in {bdi(label)}"
        for missing, label in ((pair.only_a, pair.a), (pair.only_b, pair.b))
        if missing
    ]
    return f" Left out: {' and '.join(found)}." if found else ""


def _decision(pair: SideBySide) -> str:
    decided = pair.comparison
    rows = [
        ["difference of the means", signed(decided.difference)],
        ["95 % interval", interval(decided.interval, with_signs=True)],
        ["p, how often luck alone does as much", chance(decided.p_adjusted).removeprefix("p ").removeprefix("= ")],
        ["decided", "yes" if pair.is_decided else "no"],
        *([["questions that would decide it", f"{decided.queries_needed:,}"]] if decided.queries_needed else []),
        ["questions higher, same, lower", _counts(pair.changes)],
    ]
    return table(["", bdi(metric_name(pair.metric))], rows, "")


def _counts(changes: Sequence[Change]) -> str:
    higher = sum(change.difference > 0 for change in changes)
    lower = sum(change.difference < 0 for change in changes)
    return f"{higher:,}, {len(changes) - higher - lower:,}, {lower:,}"


def _changed(pair: SideBySide) -> str:
    header = ["question", bdi(pair.a), bdi(pair.b), "change"]
    parts = []
    for title, changes in (("fell", pair.worst(CHANGED)), ("rose", pair.best(CHANGED))):
        rows = [[bdi(one.question), score(one.a), score(one.b), signed(one.difference)] for one in changes]
        if rows:
            parts.append(table(header, rows, f"{metric_name(pair.metric)} {title}", first="question"))
    return "".join(parts) or "<p>No question changed.</p>"
