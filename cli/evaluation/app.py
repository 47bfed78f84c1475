"""`quoth eval ...`, and `python -m evals ...`, which is the same."""

from __future__ import annotations

import typer

app = typer.Typer(help="Measure retrieval and answers, on public sets and on your own documents.", no_args_is_help=True)
