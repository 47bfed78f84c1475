"""Pieces of the HTML page. What takes text escapes it; what takes cells takes HTML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from evals.report_plots import SERIES


def fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{bdi(str(name))}: {bdi(plain(inner))}" for name, inner in value.items())
    return bdi(plain(value))


def plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def plot(picture: str, name: str, *, has_marks: bool = True) -> str:
    stop = f' tabindex="0" role="group" aria-label="{escape(name)}: arrow keys step through it"' if has_marks else ""
    return f'<div class="plot"{stop}>{picture}</div>' if picture else ""


def detail(mark: str) -> str:
    """Where the words of a mark are shown, and how to get them there; a mark is a dot or a bar."""
    hint = f"Point at a {mark}, tap it, or step with the arrow keys to read the questions."
    return f'<div class="detail" role="status"><p>{hint}</p></div>'


def legend(names: Sequence[str]) -> str:
    entries = "".join(
        f'<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="s{number % SERIES}" width="10" height="10" '
        f'rx="2"/></svg>{bdi(name)}</li>'
        for number, name in enumerate(names)
    )
    return f'<ul class="legend">{entries}</ul>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str, *, first: str = "") -> str:
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
    stacked = " class=stacked" if first else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table{stacked}>{said}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def bdi(text: str) -> str:
    """Text of unknown direction, which must not turn what stands beside it."""
    return f'<bdi dir="auto">{escape(text)}</bdi>'


def card(title: str, body: str, caption: str = "", *, is_picture: bool = False) -> str:
    """A framed part of the page; title, body and caption are HTML."""
    element, said = ("figure", f"<figcaption>{caption}</figcaption>") if is_picture else ("div", f"<p>{caption}</p>")
    kind = "card" if is_picture else "card long"
    return f'<{element} class="{kind}"><h3>{title}</h3>{said if caption else ""}{body}</{element}>'


def grid(left: str, right: str) -> str:
    """Two parts beside each other, or one below the other where there is no room."""
    return f'<div class="grid">{left}<div>{right}</div></div>'
