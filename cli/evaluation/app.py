"""`quoth eval ...`, and `python -m evals ...`, which is the same."""

from __future__ import annotations

import typer

from cli.evaluation import answers, compare, gate, refusal, report, retrieval, synthesize, tune

app = typer.Typer(help="Measure retrieval and answers, on public sets and on your own documents.", no_args_is_help=True)
app.command("retrieval")(retrieval.retrieval)
app.command("compare")(compare.compare)
app.command("gate")(gate.gate)
app.command("tune")(tune.tune)
app.command("report")(report.report)
app.command("answers")(answers.answers)
app.command("refusal")(refusal.refusal)
app.command("synthesize")(synthesize.synthesize)


@app.callback()
def evaluation() -> None:
    """Measure retrieval and answers, on public sets and on your own documents."""
