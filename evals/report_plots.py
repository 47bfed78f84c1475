"""Pictures as SVG text. Colours and type come from the page; every mark carries its words as a `<title>`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from evals.compare import Change, SideBySide
from evals.figures import count, score, signed

WIDTH = 330
"""Units, which are pixels on a phone; a wide screen scales up to a quarter more."""

LISTED = 8
SERIES = 5
CELLS = 40
PAD = 14


@dataclass(frozen=True, slots=True)
class Bar:
    """One value of one system; `label` is what stands beside it, `interval` may be missing."""

    value: float
    label: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of one system through points, x ascending; `stands` is the point where the system is by itself."""

    name: str
    points: tuple[tuple[float, float], ...]
    stands: tuple[float, float]


def bars(title: str, groups: Mapping[str, Sequence[tuple[str, Bar | None]]], *, maximum: float = 1.0) -> str:
    """Horizontal bars with intervals.

    Args:
        title: said by screen readers.
        groups: name of a group -> (name of a system, its bar), the systems in the same order everywhere.
        maximum: value that fills the width.
    """
    parts: list[str] = []
    left, right, step = 1.0, WIDTH - (50.0 if maximum == 1 else 70.0), 17
    place = _scale(0, maximum, left, right)
    top = 6.0
    for group, members in groups.items():
        parts.append(_text(left, top + 10, group, "strong"))
        top += 17
        for number, (name, bar) in enumerate(members):
            if bar is not None:
                parts.append(_bar(bar, f"{group}, {name}", number, place, top))
            top += step
        top += 9
    grid = "".join(_line(place(at), 0, place(at), top - 6, "grid") for at in _quarters(maximum))
    words = "; ".join(
        f"{group}: " + ", ".join(f"{name} {bar.label}" for name, bar in members if bar)
        for group, members in groups.items()
    )
    return _svg(title, words, top, grid + "".join(parts))


def _bar(bar: Bar, name: str, number: int, place: Callable[[float], float], top: float) -> str:
    said = f"{name}: {bar.label}"
    whisker = ""
    if bar.interval is not None:
        low, high = (place(end) for end in bar.interval)
        middle = top + 6
        whisker = (
            f'<path class="whisker" d="M{low:.1f} {middle - 3:.1f}v6M{low:.1f} {middle:.1f}H{high:.1f}'
            f'M{high:.1f} {middle - 3:.1f}v6"/>'
        )
        said += f" (95 % interval {score(bar.interval[0])} to {score(bar.interval[1])})"
    width, end = max(1.0, place(bar.value) - place(0)), max(bar.value, bar.interval[1] if bar.interval else 0.0)
    return (
        f'<g class="mark"><title>{escape(said)}</title>'
        f'<rect class="hit" x="0" y="{top - 2:.1f}" width="{WIDTH}" height="16"/>'
        f'<rect class="s{number % SERIES}" x="{place(0):.1f}" y="{top:.1f}" width="{width:.1f}" height="12" rx="2"/>'
        f"{whisker}{_text(place(end) + 6, top + 10, bar.label, 'figure')}</g>"
    )


def scatter(title: str, pair: SideBySide) -> str:
    """Every question: the figure of `a` to the right, of `b` upwards. Questions in one place make one larger dot."""
    a, b, changes = pair.a, pair.b, pair.changes
    left, right, top, bottom = 40.0, WIDTH - 2.0, 2.0, WIDTH - 36.0
    highest = max(1.0, *(max(change.a, change.b) for change in changes))
    across, upwards = _scale(0, highest, left + PAD, right - PAD), _scale(0, highest, bottom - PAD, top + PAD)
    cells: dict[tuple[int, int], list[Change]] = {}
    for change in changes:
        cells.setdefault((round(change.a / highest * CELLS), round(change.b / highest * CELLS)), []).append(change)
    dots = []
    # In reading order for the arrow keys: what the second system loses most, first.
    for _, inside in sorted(cells.items(), key=lambda item: (item[0][1] - item[0][0], item[0])):
        mean_a, mean_b = (sum(side) / len(inside) for side in zip(*((one.a, one.b) for one in inside), strict=True))
        kind = "same" if abs(mean_a - mean_b) < 1e-9 else "s1" if mean_b > mean_a else "s0"
        radius = min(15.0, 3.2 + 1.3 * math.sqrt(len(inside) - 1))
        words = f"{a} {score(mean_a)}, {b} {score(mean_b)}: {count(len(inside), 'question')}\n{_listed(inside)}"
        dots.append(
            f'<circle class="mark dot {kind}" cx="{across(mean_a):.1f}" cy="{upwards(mean_b):.1f}" r="{radius:.1f}">'
            f"<title>{escape(words)}</title></circle>"
        )
    frame = _axes(across, upwards, highest, highest, (left, right, top, bottom))
    diagonal = _line(across(0), upwards(0), across(highest), upwards(highest), "diagonal")
    names = _text((left + right) / 2, WIDTH - 3, f"{_short(a)} →", "axis", anchor="middle") + _text(
        12, (top + bottom) / 2, f"{_short(b)} →", "axis", anchor="middle", turn=True
    )
    sides = (
        _text(left + PAD + 6, top + PAD + 22, f"higher with {_short(b, 16)}", "s1-text") +
        _text(right - PAD - 6, bottom - PAD - 14, f"higher with {_short(a, 16)}", "s0-text", anchor="end")
    )  # fmt: skip
    better = sum(change.difference > 0 for change in changes)
    worse = sum(change.difference < 0 for change in changes)
    words = (
        f"{count(better, 'question')} higher with {b}, {worse:,} higher with {a}, "
        f"{len(changes) - better - worse:,} the same."
    )
    return _svg(title, words, WIDTH, frame + diagonal + sides + "".join(dots) + names)


def histogram(title: str, changes: Sequence[Change], *, steps: int = 10) -> str:
    """How many questions changed by how much; those that did not change are told in words, or they hide the rest."""
    changed = [change for change in changes if change.difference]
    reach = max((1.0, *(abs(change.difference) for change in changed)))
    bins: dict[int, list[Change]] = {}
    for change in changed:
        # -steps to -1 and 0 to steps - 1, each from its lower end: none holds both sides of zero. The sum before the
        # division keeps .3 - .2 in the bin of .1.
        bin_ = math.ceil(round(abs(change.difference) / reach * steps, 9))
        bins.setdefault(bin_ - 1 if change.difference > 0 else -bin_, []).append(change)
    columns = [
        Column(at * reach / steps, (at + 1) * reach / steps, "s1" if at >= 0 else "s0", tuple(inside))
        for at, inside in sorted(bins.items())
    ]
    note = f"{len(changes) - len(changed):,} of {count(len(changes), 'question')} did not change"
    return _columns(title, columns, (-reach, reach), note, "← fell      rose →", signed)


def spread(title: str, changes: Sequence[Change], *, steps: int = 10) -> str:
    """How many questions of one system (`a`) have which figure; exactly 0 and the highest stand in the outer bins."""
    reach = max((1.0, *(change.a for change in changes)))
    bins: dict[int, list[Change]] = {}
    for change in changes:
        bins.setdefault(min(steps - 1, int(round(change.a / reach * steps, 9))), []).append(change)
    columns = [
        Column(at * reach / steps, (at + 1) * reach / steps, "s0", tuple(inside)) for at, inside in sorted(bins.items())
    ]
    return _columns(title, columns, (0.0, reach), count(len(changes), "question"), "figure of the question →", score)


@dataclass(frozen=True, slots=True)
class Column:
    """Questions whose figure lies between `low` and `high`."""

    low: float
    high: float
    kind: str
    inside: tuple[Change, ...]


def _columns(
    title: str,
    columns: Sequence[Column],
    ends: tuple[float, float],
    note: str,
    axis: str,
    say: Callable[[float], str],
) -> str:
    left, right, top, bottom, height = 30.0, WIDTH - 4.0, 28.0, 150.0, 186
    tallest = max((len(column.inside) for column in columns), default=1)
    across, upwards = _scale(*ends, left, right), _scale(0, tallest, bottom, top)
    parts = []
    for at in (0.0, float(tallest)):
        parts.append(_line(left, upwards(at), right, upwards(at), "grid"))
        parts.append(_text(left - 6, upwards(at) + 4, f"{at:,.0f}", "figure", anchor="end"))
    for column in columns:
        words = f"{say(column.low)} to {say(column.high)}: {count(len(column.inside), 'question')}"
        x, width, y = across(column.low), across(column.high) - across(column.low), upwards(len(column.inside))
        parts.append(
            f'<g class="mark"><title>{escape(words)}\n{escape(_listed(column.inside))}</title>'
            f'<rect class="hit" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}"/>'
            f'<rect class="{column.kind}" x="{x + 1:.1f}" y="{y:.1f}" width="{width - 2:.1f}" '
            f'height="{bottom - y:.1f}" rx="1.5"/></g>'
        )
    if ends[0] < 0:
        parts.append(_line(across(0), top - 4, across(0), bottom, "diagonal"))
    for place in range(5):
        at, anchor = ends[0] + (ends[1] - ends[0]) * place / 4, ("start", "middle", "middle", "middle", "end")[place]
        parts.append(_text(across(at), bottom + 14, _tick(at), "figure", anchor=anchor))
    parts.append(_text((left + right) / 2, bottom + 33, axis, "axis", anchor="middle"))
    parts.append(_text(left, 14, note, "axis"))
    words = "; ".join(f"{say(one.low)} to {say(one.high)}: {len(one.inside)}" for one in columns)
    return _svg(title, f"{note}. {words}", height, "".join(parts))


def curves(title: str, lines: Sequence[Curve], x_name: str, y_name: str) -> str:
    """Lines over a share from 0 to 1, such as the risk at each coverage."""
    left, right, top, bottom, height = 40.0, WIDTH - 8.0, 8.0, 196.0, 232
    highest = max((y for line in lines for _, y in line.points), default=1.0) or 1.0
    highest = min(1.0, math.ceil(highest * 10) / 10) if highest <= 1 else highest
    across, upwards = _scale(0, 1, left, right), _scale(0, highest, bottom, top)
    parts = [_axes(across, upwards, 1, highest, (left, right, top, bottom))]
    for number, line in enumerate(lines):
        path = "L".join(f"{across(x):.1f} {upwards(y):.1f}" for x, y in line.points)
        parts.append(f'<path class="curve s{number % SERIES}-line" d="M{path}"/>')
        for x, y in _spread(line.points):
            words = f"{line.name}: {y_name} {score(y)} at {x_name} {score(x)}"
            parts.append(
                f'<circle class="mark dot s{number % SERIES}" cx="{across(x):.1f}" cy="{upwards(y):.1f}" r="2.8">'
                f"<title>{escape(words)}</title></circle>"
            )
        x, y = line.stands
        parts.append(f'<circle class="ring s{number % SERIES}-line" cx="{across(x):.1f}" cy="{upwards(y):.1f}" r="7"/>')
    parts.append(_text((left + right) / 2, height - 3, f"{x_name} →", "axis", anchor="middle"))
    parts.append(_text(12, (top + bottom) / 2, f"{y_name} →", "axis", anchor="middle", turn=True))
    words = "; ".join(
        f"{line.name}: " + ", ".join(f"{score(y)} at {score(x)}" for x, y in _spread(line.points)) for line in lines
    )
    return _svg(title, words, height, "".join(parts))


def _spread(points: Sequence[tuple[float, float]], limit: int = 20) -> list[tuple[float, float]]:
    step = max(1, math.ceil(len(points) / limit))
    return [*points[:-1:step], points[-1]] if points else []


def _axes(
    across: Callable[[float], float],
    upwards: Callable[[float], float],
    x_end: float,
    y_end: float,
    frame: tuple[float, float, float, float],
) -> str:
    left, right, top, bottom = frame
    parts = []
    for at in _quarters(x_end):
        parts.append(_line(across(at), top, across(at), bottom, "grid"))
        parts.append(_text(across(at), bottom + 14, _tick(at), "figure", anchor="middle"))
    for at in _quarters(y_end):
        parts.append(_line(left, upwards(at), right, upwards(at), "grid"))
        parts.append(_text(left - 6, upwards(at) + 4, _tick(at), "figure", anchor="end"))
    return "".join(parts)


def _tick(value: float) -> str:
    """A round figure at an axis, as short as it can be."""
    said = score(value)
    return (said.rstrip("0").rstrip(".") if "." in said else said) or "0"


def _quarters(end: float) -> tuple[float, ...]:
    return tuple(end * number / 4 for number in range(5))


def _scale(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    return lambda value: start + (min(max(value, low), high) - low) / ((high - low) or 1) * (stop - start)


def _listed(inside: Sequence[Change]) -> str:
    said = [f"{change.question}" for change in inside[:LISTED]]
    more = len(inside) - len(said)
    return "\n".join([*said, *([f"and {more:,} more"] if more else [])])


def _short(name: str, limit: int = 34) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, kind: str, *, anchor: str = "start", turn: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{escape(words)}</text>'


def _svg(title: str, words: str, height: float, body: str) -> str:
    # Named by a label and not by the id of its title, so that two pictures never share an id.
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {height:.0f}" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><desc>{escape(words)}</desc>{body}</svg>"
    )
