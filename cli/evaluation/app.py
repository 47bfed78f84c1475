"""`quoth eval ...`, and `python -m evals ...`, which is the same."""

from __future__ import annotations

import typer

from cli.evaluation import retrieval

app = typer.Typer(help="Measure retrieval and answers, on public sets and on your own documents.", no_args_is_help=True)
app.command("retrieval")(retrieval.retrieval)


@app.callback()
def evaluation() -> None:
    """Measure retrieval and answers, on public sets and on your own documents."""
