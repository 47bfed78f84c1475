"""`quoth eval gate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.evaluation.compare import MetricOption, SeedOption
from cli.evaluation.retrieval import CacheOption, DatasetsOption
from cli.execution import FAILED, JsonOption, print_json, run

if TYPE_CHECKING:
    from evals.records import Dataset, EvalResult


def gate(
    baseline: Annotated[Path, typer.Option("--baseline", help="Result to hold to.", metavar="FILE")],
    candidate: Annotated[
        Path | None, typer.Option("--candidate", help="Result to judge; without it, one is measured.", metavar="FILE")
    ] = None,
    metric: MetricOption = None,
    margin: Annotated[float, typer.Option("--margin", help="A loss that is accepted.", metavar="X")] = 0.01,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="What to measure on: the baseline's.", metavar="PATH|NAME")
    ] = None,
    datasets: DatasetsOption = None,
    split: Annotated[str, typer.Option("--split", help="Of the judgements.", metavar="SPLIT")] = "test",
    system: Annotated[
        Path | None, typer.Option("--system", help="Settings file of the candidate.", metavar="FILE")
    ] = None,
    cache: CacheOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Exit with 1 if the candidate is surely worse than the baseline by more than a margin, else with 0."""
    from evals.compare import entrants
    from evals.gate import gate as judge
    from evals.gate import gate_as_json
    from evals.results import read_result

    held = read_result(baseline)
    name = candidate.stem if candidate else system.stem if system else "candidate"
    if name == baseline.stem:
        name = f"{name}, candidate"
    measured = read_result(candidate) if candidate else _measure(held, dataset, datasets, split, system, cache, metric)
    first, second = entrants([(baseline.stem, _only(held, baseline)), (name, _only(measured, candidate))])
    found = judge(first, second, metric, margin=margin, seed=seed)
    if as_json:
        print_json(gate_as_json(found))
    else:
        typer.echo(found.sentence())
    if not found.has_passed:
        raise typer.Exit(FAILED)


def _only(result: EvalResult, file: Path | None) -> EvalResult:
    from rag.errors import InvalidInputError

    if len(result.systems) != 1:
        names = ", ".join(system.name for system in result.systems) or "none"
        raise InvalidInputError(
            f"{file} holds {len(result.systems)} systems ({names}); a gate needs one. Save a result of that one alone."
        )
    return result


def _measure(
    held: EvalResult,
    dataset: str | None,
    datasets: Path | None,
    split: str,
    system: Path | None,
    cache: Path | None,
    metric: str | None,
) -> EvalResult:
    """Measure the configured system as the baseline was."""
    from evals.compare import main_metric
    from evals.indexing import CACHE
    from evals.retrieval import METRICS, SPAN_METRICS, Options, evaluate_retrieval
    from evals.systems import read_systems
    from rag.errors import InvalidInputError

    if held.kind != "retrieval":
        raise InvalidInputError(
            f"A candidate for {held.kind} is not measured here: save one and pass --candidate FILE."
        )
    wanted = main_metric(held.systems[0], metric)
    metrics = METRICS if wanted in {*METRICS, *SPAN_METRICS} else (wanted,)
    options = Options(metrics=metrics, cache=cache or CACHE, timed=0)
    data = _dataset(held, dataset, datasets, split)
    systems = read_systems([system] if system else [])
    return run(lambda _: evaluate_retrieval(data, systems, options))


def _dataset(held: EvalResult, named: str | None, datasets: Path | None, split: str) -> Dataset:
    """The data of the baseline, as it is now; refused where it is no longer the same."""
    from evals.datasets import find_dataset, read_dataset, with_originals
    from rag.errors import InvalidInputError

    name, _, cut = held.dataset.partition("/originals")
    read = read_dataset(find_dataset(named or name, datasets), split)
    found = with_originals(read) if held.dataset.endswith(f"/originals{cut}") and name != held.dataset else read
    if found.sha256 != held.dataset_sha256:
        raise InvalidInputError(
            f"{found.folder} is not the data that the baseline was measured on: documents, questions or judgements "
            "have changed. Measure the baseline again, or pass the --dataset and --split that it was made with."
        )
    return found
