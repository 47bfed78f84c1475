"""The `quoth` command. Nothing heavy is imported before a command needs it, so that `quoth --help` is instant."""

from __future__ import annotations

import sys

import typer

from cli import answers, documents, feedback, folders, health, jobs, keys, mcp, models, server, stores
from cli.evaluation import app as evaluation
from cli.execution import guarded

app = typer.Typer(
    name="quoth",
    help="Answers from your own documents; every sentence quotes its source.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("ingest")(folders.ingest)
app.command("sync")(folders.sync)
app.command("watch")(folders.watch)
app.command("remove")(folders.remove)
app.command("search")(documents.search)
app.command("ask")(answers.ask)
app.command("chat")(answers.chat)
app.command("serve")(server.serve)
app.command("mcp")(mcp.mcp)
app.command("status")(stores.status)
app.command("why")(health.why)
app.command("doctor")(health.doctor)
app.add_typer(stores.app, name="stores")
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(feedback.app, name="feedback")
app.add_typer(evaluation.app, name="eval")


def main() -> None:
    """Entry point of the console command."""
    sys.exit(guarded(app))


if __name__ == "__main__":
    main()
