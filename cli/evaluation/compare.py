"""`quoth eval compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.execution import JsonOption, print_json

if TYPE_CHECKING:
    from evals.compare import Change, SideBySide
    from evals.records import EvalResult

MetricOption = Annotated[
    str | None, typer.Option("--metric", help="Such as ndcg@10, which is the default.", metavar="NAME")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the resampling.", metavar="N")]


def compare(
    files: Annotated[list[Path], typer.Argument(help="Two results, or one that holds several systems.", metavar="A B")],
    metric: MetricOption = None,
    limit: Annotated[int, typer.Option("--show", help="Questions that changed most.", metavar="N", min=0)] = 5,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare systems question by question: the difference, whether chance explains it, and what changed most."""
    from evals.compare import as_json as shown
    from evals.compare import entrants, side_by_side
    from rag.errors import InvalidInputError

    found = entrants(read_results(files))
    if len(found) < 2:
        raise InvalidInputError(f"{files[0]} holds one system only: name a second result to compare it with.")
    pairs = side_by_side(found, metric, seed=seed)
    if as_json:
        objects = [shown(pair, limit) for pair in pairs]
        print_json(objects[0] if len(objects) == 1 else {"comparisons": objects})
        return
    for pair in pairs:
        typer.echo("\n".join(lines(pair, limit)))


def read_results(files: list[Path]) -> list[tuple[str, EvalResult]]:
    """Each file's name without its suffix, and the result in it."""
    from evals.results import read_result

    return [(file.stem, read_result(file)) for file in files]


def lines(pair: SideBySide, limit: int) -> list[str]:
    """A comparison for people."""
    from evals.figures import count, metric_name

    found = [pair.verdict()]
    for label, missing in ((pair.a, pair.only_a), (pair.b, pair.only_b)):
        if missing:
            found.append(f"{count(missing, 'question')} only in {label}: left out.")
    for title, changes in (("fell", pair.worst(limit)), ("rose", pair.best(limit))):
        if changes:
            found += ["", f"{metric_name(pair.metric)} {title} most:", *map(_line, changes)]
    return found


def _line(change: Change) -> str:
    from evals.figures import score, signed

    question = "".join(sign if sign.isprintable() else " " for sign in change.question)
    return f"  {signed(change.difference):>7}  {score(change.a):>5} -> {score(change.b):>5}  {question}"
