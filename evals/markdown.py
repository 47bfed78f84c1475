"""A report as Markdown, for a pull request or a wiki."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from evals.compare import SideBySide
from evals.figures import interval, metric_name, score, signed
from evals.sections import CHANGED, PERCENTILES, Section


def markdown(found: Sequence[Section]) -> str:
    """The same tables as on the page."""
    return "\n\n".join(["# Evaluation", *(part for section in found for part in _section(section))]) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """A table; the first `words` columns are text, the others figures."""
    lines = [_row(header), "|" + "|".join([" --- "] * words + [" --: "] * (len(header) - words)) + "|"]
    return "\n".join([*lines, *(_row(row) for row in rows)])


def safe(text: str) -> str:
    """Text of strangers as it stands: no markup of its own, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#!~&])", r"\\\1", re.sub(r"\s+", " ", text)).strip()


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _section(section: Section) -> list[str]:
    names = [safe(entrant.label) for entrant in section.entrants]
    parts = [f"## {safe(section.dataset)}: {section.kind}", *(safe(verdict) for verdict in section.verdicts())]
    parts.append(table(["", *names], _scores(section)))
    parts.extend(part for pair in section.pairs for part in _changed(pair))
    if any(entrant.system.latency_ms for entrant in section.entrants):
        parts.append("Milliseconds of one search:")
        parts.append(table(["", *names], _speed(section)))
    parts.append("Where the figures come from:")
    parts.extend(
        "\n".join(
            f"* {safe(name)}: {safe(str(value))}"
            for name, value in {"data": entrant.result.dataset_sha256, **entrant.result.provenance}.items()
            if name != "curve"
        )
        for entrant in {id(entrant.result): entrant for entrant in section.entrants}.values()
    )
    return parts


def _scores(section: Section) -> Iterable[list[str]]:
    for metric in section.metrics:
        cells = []
        for entrant in section.entrants:
            mean, ends = entrant.system.metrics.get(metric), entrant.system.intervals.get(metric)
            cells.append("" if mean is None else score(mean) + (f" ({interval(ends)})" if ends else ""))
        yield [safe(metric_name(metric)), *cells]


def _changed(pair: SideBySide) -> list[str]:
    found = []
    for title, changes in (("fell", pair.worst(CHANGED)), ("rose", pair.best(CHANGED))):
        if changes:
            found.append(f"Questions whose {metric_name(pair.metric)} {title} most:")
            rows = [[safe(one.question), score(one.a), score(one.b), signed(one.difference)] for one in changes]
            found.append(table(["question", safe(pair.a), safe(pair.b), "difference"], rows))
    return found


def _speed(section: Section) -> Iterable[list[str]]:
    for name in PERCENTILES:
        found = [entrant.system.latency_ms.get(name) for entrant in section.entrants]
        yield [name, *("" if value is None else f"{value:.1f}" for value in found)]
