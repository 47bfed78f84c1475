"""A report as one HTML page: nothing is loaded from elsewhere, and all text of strangers is escaped."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from evals.figures import count, interval, is_lower_better, metric_name, metric_title, score
from evals.report_pairs import pair_parts
from evals.report_parts import bdi, card, detail, fact, grid, legend, plot, table
from evals.report_plots import Bar, Curve, bars, curves, spread
from evals.sections import CHANGED, PERCENTILES, Section, risk_curve


def page(found: Sequence[Section]) -> str:
    """The whole page."""
    style, script = _template("report.css"), _template("report.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    names = ", ".join(dict.fromkeys(section.dataset for section in found))
    body = "".join(_section(section) for section in found)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(names)}: evaluation</title><style>{style}</style></head><body>\n"
        f'<header><h1>Evaluation</h1><p class="soft">{bdi(names)}</p></header>\n<main>{body}</main>\n'
        "<footer><p>Means are over all judged questions; a question without a result counts 0. Intervals hold 95 % of "
        "bootstrap resamples of the questions. p is that of Fisher's paired randomisation test, after Holm's "
        "correction where there are several comparisons.</p></footer>\n"
        f"<script>{script}</script></body></html>\n"
    )


def _section(section: Section) -> str:
    about = (
        f"{section.kind.capitalize()}, {count(section.queries, 'question')}, {count(len(section.entrants), 'system')}"
    )
    verdicts = "".join(
        f'<p class="verdict {_tone(section, number)}">{escape(said)}</p>'
        for number, said in enumerate(section.verdicts())
    )
    parts = [
        _scores(section),
        *map(pair_parts, section.pairs),
        _alone(section, section.main) if section.main and not section.pairs else "",
        _risk(section),
        _speed(section),
        _provenance(section),
    ]
    return (
        f'<section class="dataset"><h2>{bdi(section.dataset)}</h2><p class="soft">{escape(about)}</p>{verdicts}'
        f"{''.join(parts)}</section>\n"
    )


def _tone(section: Section, number: int) -> str:
    if not section.pairs or not section.pairs[number].is_decided:
        return "open"
    pair = section.pairs[number]
    return "better" if (pair.comparison.difference > 0) != is_lower_better(pair.metric) else "worse"


def _scores(section: Section) -> str:
    systems = [(entrant.label, entrant.system) for entrant in section.entrants]
    names = [name for name, _ in systems]
    bar_of = {
        metric: [(name, _bar(one.metrics.get(metric), one.intervals.get(metric))) for name, one in systems]
        for metric in section.metrics
    }
    rows = [[escape(metric_title(metric)), *(_cell(bar) for _, bar in members)] for metric, members in bar_of.items()]
    figures = table(["", *map(bdi, names)], rows, "Mean and 95 % interval")
    groups = {metric_title(metric): bar_of[metric] for metric in section.shares}
    picture = plot(bars(f"Scores on {section.dataset}", groups), "Scores", has_marks=False) if groups else ""
    said = "Bars are means, lines their 95 % intervals."
    return grid(card("Scores", legend(names) + picture, said, is_picture=True), card("The same in figures", figures))


def _bar(mean: float | None, ends: tuple[float, float] | None) -> Bar | None:
    return None if mean is None else Bar(mean, score(mean), ends)


def _cell(bar: Bar | None) -> str:
    if bar is None:
        return ""
    return bar.label + (f"<small>{interval(bar.interval)}</small>" if bar.interval else "")


def _alone(section: Section, metric: str) -> str:
    name, found, label = metric_name(metric), section.by_question(), bdi(section.entrants[0].label)
    rows = [[bdi(one.question), score(one.a)] for one in found[: 2 * CHANGED]]
    picture = plot(spread(f"{name} of each question", found), f"{name} by question")
    said = f"Questions by their {escape(name)} with {label}."
    worst = table(["question", escape(name)], rows, "The worst first", first="question")
    return grid(
        card("Question by question", picture + detail("bar"), said, is_picture=True),
        card("Questions that did worst", worst),
    )


def _risk(section: Section) -> str:
    found = {entrant.label: curve for entrant in section.entrants if (curve := risk_curve(entrant)) is not None}
    if not found:
        return ""
    lines = [
        Curve(name, tuple((point[0], point[1]) for point in one["points"]), (one["coverage"], one["risk"]))
        for name, one in found.items()
    ]
    picture = plot(curves("Risk at each coverage", lines, "coverage", "risk"), "Risk and coverage")
    said = (
        "Answering only the surest questions: the share that is answered, and how many of these answers are wrong. "
        "A ring is where the system stands by itself."
    )
    rows = [[bdi(name), score(one["area"]), score(one["coverage"]), score(one["risk"])] for name, one in found.items()]
    area = "Area below the curve, the lower the better; coverage and risk of the system by itself"
    return grid(
        card("Risk and coverage", legend(list(found)) + picture + detail("dot"), said, is_picture=True),
        card("The same in figures", table(["", "area", "coverage", "risk"], rows, area)),
    )


def _speed(section: Section) -> str:
    systems = [(entrant.label, entrant.system) for entrant in section.entrants]
    names = [name for name, _ in systems]
    groups = {
        name: [(label, _time(one.latency_ms.get(name))) for label, one in systems]
        for name in PERCENTILES
        if any(name in one.latency_ms for _, one in systems)
    }
    highest = max((bar.value for members in groups.values() for _, bar in members if bar), default=0.0)
    if not highest:
        return ""
    rows = [[name, *(bar.label if bar else "" for _, bar in members)] for name, members in groups.items()]
    for key in dict.fromkeys(key for _, one in systems for key in one.index):
        rows.append([escape(f"index: {key}"), *(_amount(one.index.get(key)) for _, one in systems)])
    what = "search" if section.kind == "retrieval" else "answer"
    said = f"Milliseconds of one {what}: half of them are faster than p50, 95 of 100 than p95."
    picture = plot(bars("Latency", groups, maximum=highest), "Latency", has_marks=False)
    return grid(
        card("Speed", legend(names) + picture, said, is_picture=True),
        card("The same in figures", table(["", *map(bdi, names)], rows, "Latency and index")),
    )


def _time(milliseconds: float | None) -> Bar | None:
    return None if milliseconds is None else Bar(milliseconds, f"{milliseconds:,.1f} ms")


def _amount(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}".removesuffix(".0")


def _provenance(section: Section) -> str:
    parts = []
    for result in {id(entrant.result): entrant.result for entrant in section.entrants}.values():
        facts: dict[str, Any] = {"dataset": result.dataset, "data, sha256": result.dataset_sha256}
        facts |= {name: value for name, value in result.provenance.items() if name != "curve"}
        for system in result.systems:
            facts[f"settings of {system.name}"] = system.settings or "defaults"
            facts[f"embedder of {system.name}"] = system.fingerprint
        rows = "".join(f"<dt>{bdi(name)}</dt><dd>{fact(value)}</dd>" for name, value in facts.items())
        parts.append(f"<dl>{rows}</dl>")
    return card("Where the figures come from", "<hr>".join(parts))


def _template(name: str) -> str:
    return (files("evals") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()
