"""`quoth eval answers`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.evaluation.retrieval import CacheOption, DatasetsOption, SystemOption
from cli.execution import DataOption, JsonOption, StoreOption, print_json, run

if TYPE_CHECKING:
    from evals.answering import Options
    from evals.answering_run import Price
    from evals.answers import AnswerRecord
    from evals.records import EvalResult, SystemResult
    from rag.settings import Settings

SHOWN = (
    ("right", "right"),
    ("exact match", "exact_match"),
    ("F1", "f1"),
    ("contains", "contains"),
    ("F1, answerable", "f1_answerable"),
    ("contains, answerable", "contains_answerable"),
    ("citation precision", "citation_precision"),
    ("citation recall", "citation_recall"),
    ("sentences quoted", "quoted"),
    ("  supported", "supported"),
    ("  weak", "weak"),
    ("  unsupported", "unsupported"),
    ("refusal precision", "refusal_precision"),
    ("refusal recall", "refusal_recall"),
    ("area of risk", "aurc"),
    ("judged right", "judged_right"),
    ("failed", "error"),
)


def answers(
    dataset: Annotated[str | None, typer.Option(help="Folder or name of a dataset.", metavar="PATH|NAME")] = None,
    datasets: DatasetsOption = None,
    split: Annotated[str, typer.Option(help="Of the judgements: qrels/SPLIT.tsv.", metavar="SPLIT")] = "test",
    store: StoreOption = None,
    cases: Annotated[Path | None, typer.Option(help="Your own cases, with --store.", metavar="FILE")] = None,
    system: SystemOption = None,
    limit: Annotated[int | None, typer.Option(help="Questions at most.", metavar="N", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of the drawing and the resampling.", metavar="N")] = 0,
    judge: Annotated[str | None, typer.Option(help="Model that judges answers.", metavar="PROVIDER:MODEL")] = None,
    price: Annotated[str | None, typer.Option(help="Of a million tokens: 0.15,0.60.", metavar="IN,OUT")] = None,
    cache: CacheOption = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write the result for compare, gate, report.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure answers: their words, citations and refusals, the risk at each coverage, times and tokens."""
    from evals.answering import Options
    from evals.indexing import CACHE
    from evals.results import write_result
    from rag.errors import InvalidInputError

    if (dataset is None) == (cases is None):
        raise InvalidInputError("Name what to ask: either --dataset PATH, or --cases FILE with --store NAME.")
    options = Options(
        limit=limit, seed=seed, save=save, judge=judge, price=_price(price), cache=cache or CACHE
    )  # fmt: skip
    if cases:
        result = run(lambda settings: _over_store(settings, store, cases, system or [], data, options), data)
    else:
        result = run(lambda _: _over_dataset(str(dataset), datasets, split, system or [], options), data)
    if save:
        write_result(result, save)
    if as_json:
        print_json(as_object(result))
    else:
        typer.echo("\n".join(table(result)))


async def _over_dataset(
    name: str, datasets: Path | None, split: str, system: list[Path], options: Options
) -> EvalResult:
    from evals.answering import evaluate_dataset
    from evals.datasets import find_dataset, read_dataset
    from evals.systems import read_systems

    dataset = read_dataset(find_dataset(name, datasets), split)

    def show(done: int, total: int) -> None:
        show_progress(f"{dataset.name}: indexed {done} of {total} documents", is_last=done == total)

    return await evaluate_dataset(dataset, read_systems(system), options, _show_answer, show)


async def _over_store(
    settings: Settings, store: str | None, cases: Path, system: list[Path], data: Path | None, options: Options
) -> EvalResult:
    from evals.answering import evaluate_own
    from evals.systems import DEFAULT, System, read_systems

    systems = [System(DEFAULT, settings)]
    if system:
        own = {"data_dir": data} if data else {}
        systems = [System(each.name, each.settings.model_copy(update=own)) for each in read_systems(system)]
    return await evaluate_own(store or settings.store, cases, systems, options, _show_answer)


def _show_answer(system: str, record: AnswerRecord, done: int, total: int) -> None:
    if record.error:
        typer.echo(f"\n{system}: {record.case} failed: {record.error}", err=True)
    show_progress(f"{system}: answered {done} of {total}", is_last=done == total)


def show_progress(line: str, *, is_last: bool) -> None:
    if sys.stderr.isatty():
        typer.echo(f"\r{line}" + ("\n" if is_last else ""), err=True, nl=False)


def _price(said: str | None) -> Price:
    from evals.answering_run import Price
    from rag.errors import InvalidInputError

    if said is None:
        return Price()
    try:
        tokens_in, tokens_out = (float(part) for part in said.split(","))
    except ValueError:
        raise InvalidInputError(f"--price is {said!r}; write two numbers with a comma: 0.15,0.60.") from None
    return Price(tokens_in, tokens_out)


def as_object(result: EvalResult) -> dict[str, Any]:
    """A result as one JSON object: per case as well, the text of answers aside."""
    from evals.results import to_json

    return to_json(result, with_run=False)


def table(result: EvalResult) -> list[str]:
    """A result for people, in lines."""
    systems = result.systems
    answerable = result.provenance["answerable"]
    lines = [f"{result.dataset}: {result.queries} questions, {answerable} of them answerable"]
    lines.append(f"{'':<22}" + " ".join(f"{system.name:>22}" for system in systems))
    for label, metric in SHOWN:
        if any(metric in system.metrics for system in systems):
            lines.append(f"{label:<22}" + " ".join(f"{_cell(system, metric):>22}" for system in systems))
    for label, first, last in (("first token, ms", "first_token_p50", "first_token_p95"), ("answer, ms", "p50", "p95")):
        cells = [
            f"{system.latency_ms[first]:.0f} / {system.latency_ms[last]:.0f}" if system.latency_ms else "-"
            for system in systems
        ]
        lines.append(f"{label:<22}" + " ".join(f"{cell:>22}" for cell in cells) + "  (p50 / p95)")
    tokens = [f"{one.metrics['tokens_in']:.0f} in, {one.metrics['tokens_out']:.0f} out" for one in systems]
    lines.append(f"{'tokens an answer':<22}" + " ".join(f"{cell:>22}" for cell in tokens))
    if any(one.metrics["price"] for one in systems):
        lines.append(f"{'price an answer':<22}" + " ".join(f"{one.metrics['price']:>22.6f}" for one in systems))
    return lines + [line for system in systems for line in _findings(result, system)] + _differences(result)


def _cell(system: SystemResult, metric: str) -> str:
    if metric not in system.metrics:
        return "-"
    low, high = system.intervals[metric]
    return f"{system.metrics[metric]:.4f} ({low:.3f}..{high:.3f})"


def _findings(result: EvalResult, system: SystemResult) -> list[str]:
    """The operating point, the areas by signal, and the judge's agreement."""
    curve, areas = result.provenance["curve"][system.name], result.provenance["areas"][system.name]
    lines = [
        f"{system.name}: answers {curve['coverage']:.1%} of the questions, {curve['risk']:.1%} of these wrongly; area "
        f"of risk by signal: {', '.join(f'{signal} {area:.4f}' for signal, area in areas.items())}"
    ]
    judge = result.provenance.get("judge")
    if judge and judge["agreement"][system.name]:
        agreed = judge["agreement"][system.name]
        kappa = "not defined" if agreed["kappa"] is None else f"{agreed['kappa']:.3f}"
        lines.append(
            f"{system.name}: the judge {judge['model']} agrees with the labels of {agreed['cases']} answers on "
            f"{agreed['observed']:.1%} (Cohen's kappa {kappa})"
        )
    return lines


def _differences(result: EvalResult) -> list[str]:
    lines = []
    for each in result.comparisons:
        more = f"; about {each.queries_needed} questions would decide it" if each.queries_needed else ""
        lines.append(
            f"{each.b} - {each.a}: {each.metric} {each.difference:+.4f} "
            f"({each.interval[0]:+.3f}..{each.interval[1]:+.3f}), p = {each.p_adjusted:.4f}{more}"
        )
    return lines
