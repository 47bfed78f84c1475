"""`quoth feedback`: what people think of answers, as test cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.execution import DataOption, StoreOption, run

if TYPE_CHECKING:
    from rag.settings import Settings

app = typer.Typer(help="Feedback on answers.", no_args_is_help=True)


@app.callback()
def feedback() -> None:
    """Feedback on answers."""


@app.command("export")
def export(
    out: Annotated[
        Path | None, typer.Option(help="File to write; without it, standard output.", metavar="FILE")
    ] = None,
    store: StoreOption = None,
    data: DataOption = None,
) -> None:
    """Write feedback as the cases that `quoth eval answers --cases` reads, of one store or of all."""
    cases = run(lambda settings: _cases(settings, store), data)
    lines = "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases)
    if out is None:
        typer.echo(lines, nl=False)
        return
    _write(out, lines)
    waiting = sum(case.get("to_review", False) for case in cases)
    typer.echo(f"{out}: {len(cases)} cases, {waiting} of them to be reviewed before they count.", err=True)


async def _cases(settings: Settings, store: str | None) -> list[dict[str, Any]]:
    from rag.ledger.connection import connect
    from rag.ledger.feedback import FeedbackLog, as_case
    from rag.ledger.stores import Stores

    ledger = connect(settings.data_dir, settings.ledger_url)
    try:
        store_id = Stores(ledger).identity(store) if store else None
        return [as_case(given) for given in FeedbackLog(ledger).all(store_id)]
    finally:
        ledger.dispose()


def _write(out: Path, text: str) -> None:
    """At once: an interruption leaves the old file."""
    from rag.errors import InvalidInputError

    beside = out.with_name(f"{out.name}.new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, "utf-8")
        beside.replace(out)
    except OSError as error:
        raise InvalidInputError(
            f"{out} cannot be written: {error.strerror}. Choose another file with --out."
        ) from error
