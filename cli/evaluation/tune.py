"""`quoth eval tune`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.evaluation.compare import MetricOption
from cli.evaluation.retrieval import CacheOption, DatasetsOption
from cli.execution import JsonOption, print_json, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from evals.halving import Round, Trial
    from evals.tuning import Tuning
    from rag.settings import Settings


def tune(
    dataset: Annotated[str, typer.Option("--dataset", help="Folder or name of a dataset.", metavar="PATH|NAME")],
    datasets: DatasetsOption = None,
    split: Annotated[str, typer.Option("--split", help="Of the judgements.", metavar="SPLIT")] = "test",
    originals: Annotated[bool, typer.Option("--originals", help="Search the uncut documents of a set.")] = False,
    space: Annotated[
        Path | None, typer.Option("--space", help="Lists of values to try, as TOML.", metavar="FILE")
    ] = None,
    models: Annotated[bool, typer.Option("--models", help="Try every embedder that is installed too.")] = False,
    metric: MetricOption = None,
    budget: Annotated[int | None, typer.Option("--budget", help="Searches at most.", metavar="N", min=1)] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the cut and the samples.", metavar="N")] = 0,
    cache: CacheOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the winner, a file for --system.", metavar="FILE")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search for the settings that find most, on the dev half of a dataset; the test half is not looked at."""
    from evals.datasets import find_dataset, read_dataset, with_originals
    from evals.indexing import CACHE
    from evals.tuning import METRIC, tuning_as_json
    from evals.tuning import tune as search
    from rag.errors import InvalidInputError

    data = read_dataset(find_dataset(dataset, datasets), split)
    data = with_originals(data) if originals else data
    found = run(
        lambda settings: search(
            data, settings, _space(settings, space, with_models=models), metric=metric or METRIC, budget=budget,
            seed=seed, cache=cache or CACHE, on_round=_show_round, on_progress=_show_progress,
        )
    )  # fmt: skip
    if out:
        try:
            out.write_text(found.toml, encoding="utf-8")
        except OSError as error:
            raise InvalidInputError(f"{out} cannot be written: {error.strerror}.") from None
    if as_json:
        print_json(tuning_as_json(found))
    else:
        typer.echo("\n".join(lines(found)))


def _space(settings: Settings, file: Path | None, *, with_models: bool) -> dict[str, Sequence[Any]]:
    from evals.space import read_space, usual_space
    from rag.models import list_models

    found = read_space(file) if file else usual_space()
    if with_models:
        here = [model.name for model in list_models(settings.models_dir) if model.kind == "embedder" and model.present]
        found = {**found, "embedder.model": tuple(here)}
    return found


def lines(found: Tuning) -> list[str]:
    """The search for people: the front, the rest, the winner as a file."""
    from evals.figures import count, metric_name

    name = metric_name(found.metric)
    return [
        f"{found.dataset}: {count(len(found.trials), 'choice')} of settings, {found.searches:,} searches "
        f"on {count(found.queries, 'dev question')}; the test half was not looked at.",
        "",
        f"  {name:>8}  {'p50 ms':>7}  questions",
        *(_line(trial, "*" if trial in found.front else " ") for trial in found.trials),
        "",
        "* nothing that came as far is both better and faster.",
        "Those with fewer questions were behind on the same ones; figures over different numbers do not compare.",
        found.verdict(),
        "",
        "As a file for --system:",
        "",
        found.toml.rstrip(),
    ]


def _line(trial: Trial, sign: str) -> str:
    from evals.figures import score
    from evals.space import said

    return f"{sign} {score(trial.quality):>8}  {trial.latency:>7.1f}  {len(trial.values):>9}  {said(trial.changes)}"


def _show_round(done: Round) -> None:
    if sys.stderr.isatty():
        typer.echo(
            f"Round {done.number} of {done.rounds}: {done.trials} choices, {done.queries} questions each", err=True
        )


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        typer.echo(f"\rIndexed {done} of {total} documents{end}", err=True, nl=False)
