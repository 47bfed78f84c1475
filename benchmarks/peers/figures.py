"""Measurements to tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]
"""One measurement: `system`, `stage`, `round`, and what was measured."""

WAYS = ("dense", "bm25", "hybrid")


def percentile(values: Sequence[float], share: float) -> float:
    """As numpy has it."""
    return round(float(np.percentile(values, share)), 2)


def tables(rows: Sequence[Row]) -> str:
    """Markdown: medians over the rounds, and each round's ratio to Quoth."""
    systems = list(dict.fromkeys(row["system"] for row in rows))
    parts = [_speed(rows, systems), _ratios(rows, systems), _quality(rows, systems)]
    return "\n\n".join(part for part in parts if part)


def _speed(rows: Sequence[Row], systems: Sequence[str]) -> str:
    lines = [
        "| | ingest s | of CPU | chunks | peak MB | store MB | unchanged again s | first hit s | dense p50 / p95 ms | "
        "hybrid p50 / p95 ms | rounds |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for system in systems:
        mine = [row for row in rows if row["system"] == system]
        cells = [
            _median(mine, "ingest", "wall_s", 1),
            _median(mine, "ingest", "cpu_s", 1),
            _median(mine, "ingest", "chunks", 0),
            _median(mine, "ingest", "peak_mb", 0),
            _median(mine, "ingest", "store_mb", 1),
            _median(mine, "again", "wall_s", 1),
            _median(mine, "query", "first_hit_s", 1),
            *(f"{_median(mine, 'query', f'{way}_p50', 1)} / {_median(mine, 'query', f'{way}_p95', 1)}"
              for way in ("dense", "hybrid")),
            str(sum(row["stage"] == "ingest" for row in mine)),
        ]  # fmt: skip
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return "\n".join(lines) if any(row["stage"] in ("ingest", "again", "query") for row in rows) else ""


def _median(rows: Iterable[Row], stage: str, key: str, digits: int) -> str:
    of_stage = [row for row in rows if row["stage"] == stage]
    values = [row[key] for row in of_stage if key in row]
    shown = f"{statistics.median(values):.{digits}f}" if values else "-"
    return f"{shown} (fails)" if any(row["error"] for row in of_stage) else shown


def _ratios(rows: Sequence[Row], systems: Sequence[str]) -> str:
    """How many times as long as Quoth each took, as the median of the ratios within each round."""
    lines = []
    for stage, key, what in (("ingest", "wall_s", "ingest"), ("ingest", "cpu_s", "CPU of the ingest"),
                             ("query", "first_hit_s", "first hit")):  # fmt: skip
        by_system = {
            system: {row["round"]: row[key] for row in rows if row["system"] == system and row["stage"] == stage
                     and key in row and not row["error"]}
            for system in systems
        }  # fmt: skip
        quoth = by_system[systems[0]]
        ratios = {
            system: [value / quoth[number] for number, value in by_system[system].items() if number in quoth]
            for system in systems[1:]
        }
        shown = [f"{name} {statistics.median(values):.2f}" for name, values in ratios.items() if values]
        if shown:
            lines.append(f"* {what}, times {systems[0]}: {', '.join(shown)}")
    return "\n".join(lines)


def _quality(rows: Sequence[Row], systems: Sequence[str]) -> str:
    sets = list(dict.fromkeys(row["set"] for row in rows if row["stage"] == "collect"))
    parts = []
    for name in sets:
        lines = [
            f"| {name} | " + " | ".join(f"{way} nDCG@10 / Recall@10" for way in WAYS) + " | ms of a query |",
            "| --- | --: | --: | --: | --: |",
        ]
        for system in systems:
            found = [row for row in rows if (row["system"], row["stage"], row.get("set")) == (system, "collect", name)]
            if found:
                row = found[-1]
                lines.append(f"| {system} | " + " | ".join(_cells(row, _scores)) + f" | {_times(row)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cells(row: Row, cell: Callable[[Row, str], str]) -> list[str]:
    return [cell(row, way) if way in row.get("ways", {}) else row["error"] or "-" for way in WAYS]


def _scores(row: Row, way: str) -> str:
    found = row["ways"][way]
    return f"{found['ndcg@10']:.3f} / {found['recall@10']:.3f}"


def _times(row: Row) -> str:
    return ", ".join(f"{row['ways'][way]['mean_ms']:.1f}" for way in WAYS if way in row.get("ways", {}))
