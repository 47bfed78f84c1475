"""A report as one HTML page: nothing is loaded from elsewhere, and all text of strangers is escaped."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from evals.compare import Change, SideBySide
from evals.figures import chance, count, interval, is_lower_better, metric_name, score, signed
from evals.report_plots import SERIES, Bar, Curve, bars, curves, histogram, scatter, spread
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
        f'<header><h1>Evaluation</h1><p class="soft">{_bdi(names)}</p></header>\n<main>{body}</main>\n'
        "<footer><p>Means are over all judged questions; a question without a result counts 0. Intervals hold 95 % of "
        "bootstrap resamples of the questions. p is that of Fisher's paired randomisation test, after Holm's "
        "correction where there are several comparisons.</p></footer>\n"
        f"<script>{script}</script></body></html>\n"
    )


def _section(section: Section) -> str:
    systems = count(len(section.entrants), "system")
    parts = [
        f"<h2>{_bdi(section.dataset)}</h2>",
        f'<p class="soft">{escape(section.kind.capitalize())}, {count(section.queries, "question")}, {systems}</p>',
        *(
            f'<p class="verdict {_tone(section, number)}">{escape(said)}</p>'
            for number, said in enumerate(section.verdicts())
        ),  # fmt: skip
        _scores(section),
        *(_pair(section, number, pair) for number, pair in enumerate(section.pairs, 1)),
        _alone(section) if not section.pairs and section.main else "",
        _risk(section),
        _speed(section),
        _provenance(section),
    ]
    return f'<section class="dataset">{"".join(parts)}</section>\n'


def _tone(section: Section, number: int) -> str:
    if not section.pairs or not section.pairs[number].is_decided:
        return "open"
    pair = section.pairs[number]
    return "better" if (pair.comparison.difference > 0) != is_lower_better(pair.metric) else "worse"


def _scores(section: Section) -> str:
    names = [entrant.label for entrant in section.entrants]
    rows = []
    for metric in section.metrics:
        cells = []
        for entrant in section.entrants:
            mean, ends = entrant.system.metrics.get(metric), entrant.system.intervals.get(metric)
            small = f"<small>{interval(ends)}</small>" if ends else ""
            cells.append("" if mean is None else score(mean) + small)
        rows.append([escape(metric_name(metric)), *cells])
    groups = {
        metric_name(metric): [
            (entrant.label, _bar(entrant.system.metrics.get(metric), entrant.system.intervals.get(metric)))
            for entrant in section.entrants
        ]
        for metric in section.shares
    }
    picture = bars(f"Scores on {section.dataset}", groups) if groups else ""
    return (
        '<div class="grid"><figure class="card"><h3>Scores</h3>'
        "<figcaption>Bars are means, lines their 95 % intervals.</figcaption>"
        f"{_legend(names)}{_plot(picture, 'Scores', has_marks=False)}</figure>"
        f'<div class="card"><h3>The same in figures</h3>{_table(["", *map(_bdi, names)], rows, "Mean and 95 % interval")}'
        "</div></div>"
    )


def _bar(mean: float | None, ends: tuple[float, float] | None) -> Bar | None:
    return None if mean is None else Bar(mean, score(mean), ends)


def _pair(section: Section, number: int, pair: SideBySide) -> str:
    name, lines = metric_name(pair.metric), pair.changes
    only = [
        f"{count(missing, 'question')} only in {_bdi(label)}"
        for missing, label in ((pair.only_a, pair.a), (pair.only_b, pair.b))
        if missing
    ]
    title = f"{_bdi(pair.b)} against {_bdi(pair.a)}"
    aside = f" {' and '.join(only)} left out." if only else ""
    return (
        f'<div class="grid"><figure class="card"><h3>Question by question: {title}</h3>'
        f"<figcaption>{escape(name)} of each question; above the line it is higher with {_bdi(pair.b)}. "
        f"A larger dot is several questions in one place.{aside}</figcaption>"
        f"{_plot(scatter(f'{name} of each question, {pair.a} and {pair.b}', pair.a, pair.b, lines), f'{name} by question')}"
        f"{_detail('Point at a dot, tap it, or use the arrow keys to read the questions.')}</figure>"
        f'<div><figure class="card"><h3>How far they moved</h3>'
        f"<figcaption>Questions by the change of their {escape(name)}.</figcaption>"
        f"{_plot(histogram(f'Changes of {name}, {pair.a} to {pair.b}', lines), f'Changes of {name}')}"
        f"{_detail('Point at a bar, tap it, or use the arrow keys.')}</figure>"
        f'<div class="card">{_decision(pair)}</div></div></div>'
        f'<div class="card long"><h3>Questions that changed most</h3>{_changed(pair)}</div>'
    )


def _decision(pair: SideBySide) -> str:
    decided = pair.comparison
    rows = [
        ["difference of the means", signed(decided.difference)],
        ["95 % interval", interval(decided.interval, with_signs=True)],
        ["chance of so large a difference by luck", chance(decided.p_adjusted).removeprefix("p ").removeprefix("= ")],
        ["decided", "yes" if pair.is_decided else "no"],
        *([["questions that would decide it", f"{decided.queries_needed:,}"]] if decided.queries_needed else []),
        ["questions higher, same, lower", _counts(pair.changes)],
    ]
    return "<h3>Is it real?</h3>" + _table(["", _bdi(metric_name(pair.metric))], rows, "")


def _counts(changes: Sequence[Change]) -> str:
    higher = sum(change.difference > 0 for change in changes)
    lower = sum(change.difference < 0 for change in changes)
    return f"{higher:,}, {len(changes) - higher - lower:,}, {lower:,}"


def _changed(pair: SideBySide) -> str:
    parts = []
    for title, changes in (("fell", pair.worst(CHANGED)), ("rose", pair.best(CHANGED))):
        rows = [[_bdi(one.question), score(one.a), score(one.b), signed(one.difference)] for one in changes]
        if rows:
            header = ["question", _bdi(pair.a), _bdi(pair.b), "change"]
            parts.append(_table(header, rows, f"{metric_name(pair.metric)} {title}", first="question"))
    return "".join(parts) or "<p>No question changed.</p>"


def _alone(section: Section) -> str:
    assert section.main is not None  # noqa: S101
    name, found = metric_name(section.main), section.by_question()
    rows = [[_bdi(one.question), score(one.a)] for one in found[: 2 * CHANGED]]
    label = section.entrants[0].label
    return (
        f'<div class="grid"><figure class="card"><h3>Question by question</h3>'
        f"<figcaption>Questions by their {escape(name)} with {_bdi(label)}.</figcaption>"
        f"{_plot(spread(f'{name} of each question', found), f'{name} by question')}"
        f"{_detail('Point at a bar, tap it, or use the arrow keys.')}</figure>"
        f'<div class="card long"><h3>Questions that did worst</h3>'
        f"{_table(['question', escape(name)], rows, f'The lowest {name} first', first='question')}</div></div>"
    )


def _risk(section: Section) -> str:
    found = {entrant.label: curve for entrant in section.entrants if (curve := risk_curve(entrant)) is not None}
    if not found:
        return ""
    lines = [Curve(name, tuple((point[0], point[1]) for point in one["points"])) for name, one in found.items()]
    rows = [[_bdi(name), score(one["area"]), score(one["coverage"]), score(one["risk"])] for name, one in found.items()]
    return (
        '<div class="grid"><figure class="card"><h3>Risk and coverage</h3><figcaption>Answering only the surest '
        "questions: the share that is answered, and how many of these answers are wrong.</figcaption>"
        f"{_legend(list(found))}{_plot(curves('Risk at each coverage', lines, 'coverage', 'risk'), 'Risk and coverage')}"
        f"{_detail('Point at the line, tap it, or use the arrow keys.')}</figure>"
        '<div class="card"><h3>Where it stands</h3>'
        + _table(
            ["", "area", "coverage", "risk"],
            rows,
            "Area below the curve, the lower the better, and the point at which the system answers by itself",
        )  # fmt: skip
        + "</div></div>"
    )


def _speed(section: Section) -> str:
    timed = [entrant for entrant in section.entrants if entrant.system.latency_ms]
    if not timed:
        return ""
    names = [entrant.label for entrant in section.entrants]
    present = [name for name in PERCENTILES if any(name in one.system.latency_ms for one in timed)]
    groups = {
        name: [
            (one.label, Bar(value, f"{value:,.1f} ms") if (value := one.system.latency_ms.get(name)) is not None else None)
            for one in section.entrants
        ]
        for name in present
    }  # fmt: skip
    highest = max(bar.value for members in groups.values() for _, bar in members if bar)
    rows = [[name, *(bar.label if bar else "" for _, bar in members)] for name, members in groups.items()]
    others = dict.fromkeys(key for one in section.entrants for key in one.system.index)
    rows += [
        [escape(f"index: {key}"), *(f"{one.system.index[key]:,.0f}" if key in one.system.index else "" for one in section.entrants)]
        for key in others
    ]  # fmt: skip
    what = "search" if section.kind == "retrieval" else "answer"
    return (
        f'<div class="grid"><figure class="card"><h3>Speed</h3><figcaption>Milliseconds of one {what}: half of them '
        "are faster than p50, 95 of 100 than p95.</figcaption>"
        f"{_legend(names)}{_plot(bars('Latency', groups, maximum=highest or 1.0), 'Latency', has_marks=False)}</figure>"
        f'<div class="card"><h3>The same in figures</h3>{_table(["", *map(_bdi, names)], rows, "Latency and index")}</div></div>'
    )


def _provenance(section: Section) -> str:
    parts = []
    results = {id(entrant.result): entrant.result for entrant in section.entrants}
    for result in results.values():
        facts: dict[str, Any] = {"dataset": result.dataset, "data, sha256": result.dataset_sha256}
        facts |= {name: value for name, value in result.provenance.items() if name != "curve"}
        for system in result.systems:
            facts[f"settings of {system.name}"] = system.settings or "defaults"
            facts[f"embedder of {system.name}"] = system.fingerprint
        parts.append("<dl>" + "".join(f"<dt>{_bdi(name)}</dt><dd>{_fact(value)}</dd>" for name, value in facts.items()))
        parts.append("</dl>")
    return f'<div class="card long"><h3>Where the figures come from</h3>{"".join(parts)}</div>'


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{_bdi(str(name))}: {_bdi(_plain(inner))}" for name, inner in value.items())
    return _bdi(_plain(value))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _plot(picture: str, name: str, *, has_marks: bool = True) -> str:
    stop = f' tabindex="0" role="group" aria-label="{escape(name)}: arrow keys step through it"' if has_marks else ""
    return f'<div class="plot"{stop}>{picture}</div>' if picture else ""


def _detail(hint: str) -> str:
    return f'<div class="detail" role="status"><p>{escape(hint)}</p></div>'


def _legend(names: Sequence[str]) -> str:
    entries = "".join(
        f'<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="s{number % SERIES}" width="10" height="10" rx="2"/>'
        f"</svg>{_bdi(name)}</li>"
        for number, name in enumerate(names)
    )
    return f'<ul class="legend">{entries}</ul>'


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str, *, first: str = "") -> str:
    """A table of cells that are HTML already; the first column names the row, the others are figures."""
    kind = f' class="{first}"' if first else ""
    head = "".join(
        f'<th scope="col"{kind if not place else " class=n"}>{cell}</th>' for place, cell in enumerate(header)
    )
    body = "".join(
        f'<tr><th scope="row"{kind}>{row[0]}</th>' + "".join(f"<td class=n>{cell}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    label = escape(caption or "figures")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table{" class=stacked" if first else ""}>{said}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _bdi(text: str) -> str:
    """Text of unknown direction, which must not turn what stands beside it."""
    return f'<bdi dir="auto">{escape(text)}</bdi>'


def _template(name: str) -> str:
    return (files("evals") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()
