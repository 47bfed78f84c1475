"""`quoth eval retrieval`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.execution import JsonOption, print_json, run

if TYPE_CHECKING:
    from evals.records import Dataset, EvalResult
    from evals.retrieval import Options
    from evals.systems import System

DatasetOption = Annotated[
    list[str] | None, typer.Option("--dataset", help="Folder or name of a dataset; repeatable.", metavar="PATH|NAME")
]
DatasetsOption = Annotated[
    Path | None, typer.Option("--datasets", help="Folder of the datasets that have names: ./data.", metavar="DIR")
]
SystemOption = Annotated[
    list[Path] | None,
    typer.Option("--system", help="Settings file of a system, as quoth.toml; repeatable.", metavar="FILE"),
]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder of indexes: ~/.cache/quoth/evals.", metavar="DIR")
]


def retrieval(
    dataset: DatasetOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every dataset in the folder of --datasets.")] = False,
    datasets: DatasetsOption = None,
    split: Annotated[str, typer.Option(help="Of the judgements: qrels/SPLIT.tsv.", metavar="SPLIT")] = "test",
    originals: Annotated[bool, typer.Option("--originals", help="Search the uncut documents of a set.")] = False,
    system: SystemOption = None,
    metrics: Annotated[str | None, typer.Option(help="Such as ndcg@10,recall@100.", metavar="NAMES")] = None,
    timed: Annotated[int | None, typer.Option(help="Questions that are timed at most.", metavar="N", min=0)] = None,
    seed: Annotated[int, typer.Option(help="Of the resampling.", metavar="N")] = 0,
    cache: CacheOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure also what has not changed since.")] = False,
    save: Annotated[Path | None, typer.Option("--save", help="Write the result for compare, gate, report.")] = None,
    save_run: Annotated[Path | None, typer.Option("--save-run", help="Write what was found as a TREC run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how well passages are found: nDCG, recall and others, with intervals, latency and significance."""
    from evals.datasets import find_dataset, list_datasets
    from evals.indexing import CACHE
    from evals.retrieval import METRICS, TIMED, Options
    from evals.systems import read_systems
    from rag.errors import InvalidInputError

    names = [*(dataset or []), *(list_datasets(datasets or Path("data")) if every else [])]
    if not names:
        raise InvalidInputError("Name a dataset: --dataset PATH, or --all with --datasets DIR.")
    folders = list(dict.fromkeys(find_dataset(name, datasets) for name in names))
    wanted = tuple(name.strip() for name in metrics.split(",")) if metrics else METRICS
    timing = TIMED if timed is None else timed
    options = Options(metrics=wanted, cache=cache or CACHE, timed=timing, seed=seed, is_fresh=fresh)
    systems = read_systems(system or [])
    results = []
    for each in _read(folders, split, originals=originals):
        result = run(lambda _, each=each: _evaluate(each, systems, options))  # type: ignore[misc]
        _write(result, save, save_run, is_one=len(folders) == 1)
        results.append(result)
        if not as_json:
            typer.echo("\n".join(table(result)))
    if as_json:
        _print(results)


def _read(folders: Sequence[Path], split: str, *, originals: bool) -> Iterator[Dataset]:
    from evals.datasets import read_dataset, with_originals

    for folder in folders:
        found = read_dataset(folder, split)
        yield with_originals(found) if originals else found


async def _evaluate(dataset: Dataset, systems: Sequence[System], options: Options) -> EvalResult:
    from evals.retrieval import evaluate_retrieval

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            typer.echo(f"\r{dataset.name}: indexed {done} of {total} documents{end}", err=True, nl=False)

    return await evaluate_retrieval(dataset, systems, options, show)


def _write(result: EvalResult, save: Path | None, save_run: Path | None, *, is_one: bool) -> None:
    """Write what was asked for; where one file would be several, their names are told apart before the suffix."""
    from evals.results import write_result
    from evals.trec import write_run

    dataset = "" if is_one else f".{result.dataset.replace('/', '-')}"
    if save:
        write_result(result, save.with_name(f"{save.stem}{dataset}{save.suffix}"))
    if save_run:
        for system in result.systems:
            name = "" if len(result.systems) == 1 else f".{system.name}"
            write_run(save_run.with_name(f"{save_run.stem}{dataset}{name}{save_run.suffix}"), system.run, system.name)


def _print(results: Sequence[EvalResult]) -> None:
    from evals.retrieval import as_json

    objects = [as_json(result) for result in results]
    one: dict[str, Any] = objects[0] if len(objects) == 1 else {"datasets": objects}
    print_json(one)


def table(result: EvalResult) -> list[str]:
    """A result for people, in lines."""
    metrics = list(result.systems[0].metrics)
    width = max(len(system.name) for system in result.systems)
    lines = [f"{result.dataset}: {result.queries} questions"]
    lines.append(f"{'':<{width}}  " + " ".join(f"{metric:>22}" for metric in metrics) + f" {'p50 / p95 ms':>16}")
    for system in result.systems:
        cells = [
            f"{system.metrics[metric]:.4f} ({system.intervals[metric][0]:.3f}..{system.intervals[metric][1]:.3f})"
            for metric in metrics
        ]
        times = system.latency_ms
        timed = f"{times['p50']:.1f} / {times['p95']:.1f}" if times else "-"
        lines.append(f"{system.name:<{width}}  " + " ".join(f"{cell:>22}" for cell in cells) + f" {timed:>16}")
    for name, moment in result.provenance.get("kept", {}).items():
        lines.append(f"{name}: nothing has changed since {moment}, when this was measured; --fresh measures again")
    for each in result.comparisons:
        if each.metric == metrics[0]:
            more = f"; about {each.queries_needed} questions would decide it" if each.queries_needed else ""
            lines.append(
                f"{each.b} - {each.a}: {each.metric} {each.difference:+.4f} "
                f"({each.interval[0]:+.3f}..{each.interval[1]:+.3f}), p = {each.p_adjusted:.4f}{more}"
            )
    return lines
