"""`quoth eval refusal`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.evaluation.answers import show_progress
from cli.evaluation.retrieval import CacheOption, DatasetOption, DatasetsOption
from cli.execution import DataOption, JsonOption, StoreOption, print_json, run

if TYPE_CHECKING:
    from evals.refusing import Judged, Refusals
    from rag.answerability import Calibration
    from rag.settings import Settings


def refusal(
    dataset: DatasetOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every dataset in the folder of --datasets.")] = False,
    datasets: DatasetsOption = None,
    store: StoreOption = None,
    cases: Annotated[Path | None, typer.Option(help="Your own cases, with --store.", metavar="FILE")] = None,
    lost: Annotated[
        float, typer.Option("--lost", help="Share of answerable questions that may be refused.", min=0, max=0.5)
    ] = 0.03,
    limit: Annotated[int, typer.Option(help="Questions of a dataset and kind at most.", metavar="N", min=1)] = 150,
    seed: Annotated[int, typer.Option(help="Of the drawing.", metavar="N")] = 0,
    cache: CacheOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Let the store refuse by what was fitted.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit when a question is refused, on your own cases or on datasets, and measure what that comes to."""
    from rag.errors import InvalidInputError

    if (cases is None) == (not dataset and not every):
        raise InvalidInputError("Name what to fit on: --cases FILE with --store NAME, or --dataset PATH, or --all.")
    if keep and cases is None:
        raise InvalidInputError("--keep is for a store of your own: give --cases FILE and --store NAME.")
    if cases:
        work = run(lambda settings: _own(settings, store, cases, lost, keep=keep), data)
    else:
        folders = _folders(dataset, datasets, every=every)
        work = run(lambda settings: _datasets(settings, folders, lost, limit, seed, cache), data)
    fitted, rows = work
    if as_json:
        from dataclasses import asdict

        print_json({"calibration": fitted.as_dict(), "refusals": {name: asdict(found) for name, found in rows}})
        return
    typer.echo("\n".join(_table(fitted, rows)))
    if cases and keep:
        typer.echo("Kept: the store refuses by it from now on.")


def _folders(dataset: list[str] | None, datasets: Path | None, *, every: bool) -> list[Path]:
    from evals.datasets import find_dataset, list_datasets

    names = [*(dataset or []), *(list_datasets(datasets or Path("data")) if every else [])]
    return list(dict.fromkeys(find_dataset(name, datasets) for name in names))


async def _own(
    settings: Settings, store: str | None, cases: Path, lost: float, *, keep: bool
) -> tuple[Calibration, list[tuple[str, Refusals]]]:
    from evals.refusal_cases import judge_own
    from evals.refusing import fit
    from rag.answerability import packaged
    from rag.assembly import open_engine
    from rag.concurrency import in_thread

    async with open_engine(settings) as engine:
        name = store or settings.store
        judged = await judge_own(engine, name, cases, _show)
        model = engine.embedder.fingerprint.model
        fitted, held_out = fit(judged, model, lost=lost, prior=packaged(model), fitted_on=cases.name)
        if keep:
            identity = await in_thread(engine.stores.identity, name)
            await in_thread(engine.calibrations.put, identity, fitted.as_dict())
    return fitted, _rows(judged, held_out, fitted.threshold)


async def _datasets(
    settings: Settings, folders: list[Path], lost: float, limit: int, seed: int, cache: Path | None
) -> tuple[Calibration, list[tuple[str, Refusals]]]:
    from evals.datasets import read_dataset
    from evals.indexing import CACHE
    from evals.refusal_cases import judge_datasets
    from evals.refusing import fit

    sets = [read_dataset(folder) for folder in folders]
    judged = await judge_datasets(sets, settings, limit, seed=seed, cache=cache or CACHE, on_judged=_show)
    named = ", ".join(each.name for each in sets)
    fitted, held_out = fit(judged, settings.embedder.model, lost=lost, fitted_on=named)
    return fitted, _rows(judged, held_out, fitted.threshold)


def _rows(judged: list[Judged], held_out: Any, threshold: float) -> list[tuple[str, Refusals]]:
    """What refusals come to over each group of questions without an answer, with those of its dataset that have one."""
    from evals.refusing import measure

    groups = sorted({each.group for each in judged if not each.is_answerable})
    rows = []
    for group in groups:
        mine = [
            at for at, each in enumerate(judged)
            if each.group == group or (each.group[0] == group[0] and each.is_answerable)
        ]  # fmt: skip
        label = group[0] if group[1] == "own" else f"{group[0]}, {group[1]}"
        rows.append((label, measure(held_out[mine], [judged[at] for at in mine], threshold)))
    if len(groups) > 1:
        rows.append(("all", measure(held_out, judged, threshold)))
    return rows


def _show(name: str, done: int, total: int) -> None:
    show_progress(f"{name}: searched for {done} of {total} questions", is_last=done == total)


def _table(fitted: Calibration, rows: list[tuple[str, Refusals]]) -> list[str]:
    def cell(value: float | None) -> str:
        return f"{'-' if value is None else f'{value:.3f}':>10}"

    head = f"{'questions':<36}{'cases':>7}{'area':>10}{'precision':>10}{'recall':>10}{'lost':>10}"
    lines = [
        f"{name:<36}{row.cases:>7}{cell(row.area)}{cell(row.precision)}{cell(row.recall)}{cell(row.lost)}"
        for name, row in rows
    ]
    weights = ", ".join(f"{name} {weight:+.2f}" for name, weight in fitted.weights.items())
    return [
        head, *lines, "",
        f"An answer is tried from a probability of {fitted.threshold} on ({fitted.embedder}, {fitted.cases} questions, "
        "measured without the fold that each lies in).",
        f"{weights}, bias {fitted.bias:+.2f}",
    ]  # fmt: skip
