"""`quoth eval synthesize`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.execution import DataOption, JsonOption, StoreOption, print_json, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.cases import OwnCase
    from evals.synthesis import Synthesis
    from rag.settings import Settings


def synthesize(
    store: StoreOption = None,
    out: Annotated[Path, typer.Option("--out", help="Of the cases; brought up to date when it is there.")] = Path(
        "cases.jsonl"
    ),
    count: Annotated[int, typer.Option(help="Cases that there shall be.", metavar="N", min=1)] = 50,
    seed: Annotated[int, typer.Option(help="Of the choice of documents and questions.", metavar="N")] = 0,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a test set from your own documents, a fifth of it questions that they do not answer."""
    from evals.cases import read_own_cases, write_own_cases

    known = read_own_cases(out) if out.exists() else []
    found = run(lambda settings: _synthesize(settings, store, known, count, seed), data)
    write_own_cases(out, found.cases)
    report = _report(found, out)
    if as_json:
        print_json(report)
        return
    typer.echo(
        f"{report['cases']} cases in {out}, {report['unanswerable']} of them not answerable; {report['dropped']} that "
        "were dropped are remembered."
    )
    for what, number in sorted(found.counts.items()):
        typer.echo(f"  {number:>6} {what}")
    typer.echo(
        f"Of the questions' words, {found.overlap:.0%} stand in the passages they were written from; {found.copied} "
        "questions take nearly all of theirs from there, which flatters a search by words."
    )
    typer.echo(f"Review them: set `review` to keep or drop. Then: quoth eval answers --store NAME --cases {out}")


async def _synthesize(
    settings: Settings, store: str | None, known: Sequence[OwnCase], count: int, seed: int
) -> Synthesis:
    from evals.question_writing import QuestionWriter
    from evals.synthesis import synthesize as write
    from rag.assembly import open_chat_model, open_engine

    def show(case: OwnCase) -> None:
        if sys.stderr.isatty():
            typer.echo(f"{case.kind}: {case.question}", err=True)

    async with open_engine(settings) as engine:
        name = store or settings.store
        if settings.chat.model == "extractive":
            return await write(engine, name, known, count=count, seed=seed, on_case=show)
        model = await open_chat_model(engine)
        try:
            return await write(engine, name, known, count=count, seed=seed, writer=QuestionWriter(model), on_case=show)
        finally:
            await model.close()


def _report(found: Synthesis, out: Path) -> dict[str, Any]:
    live = [case for case in found.cases if case.review != "drop"]
    return {
        "out": str(out), "cases": len(live), "unanswerable": sum(not case.answerable for case in live),
        "dropped": len(found.cases) - len(live), "counts": dict(found.counts),
        "overlap": round(found.overlap, 4), "copied": found.copied,
    }  # fmt: skip
