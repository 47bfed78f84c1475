"""`quoth jobs`: what ingests are doing, what came of them, and a worker for those that wait."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.execution import SOME_FILES_FAILED, DataOption, JsonOption, print_json, run

if TYPE_CHECKING:
    from ingest.outcomes import IngestSummary
    from rag.errors import QuothError
    from rag.ledger.jobs import Job, Jobs
    from rag.settings import Settings

app = typer.Typer(help="Ingests: running, waiting and done.", invoke_without_command=True)

SHOWN = 20


@app.callback()
def jobs(context: typer.Context, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the latest ingests, with how far they are."""
    if context.invoked_subcommand is not None:
        return
    found = run(_list, data)
    if as_json:
        print_json({"jobs": found})
        return
    if not found:
        typer.echo("There was no ingest yet: quoth ingest PATH.")
    for job in found[:SHOWN]:
        typer.echo(f"{job['id'][:8]}  {_when(job['created_at'])}  {job['store']:<16} {job['state']:<8} {_account(job)}")


@app.command("show")
def show(
    job_id: Annotated[str, typer.Argument(help="Id of a job, or its beginning.", metavar="ID")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one ingest, and why files of it failed or were skipped."""
    job = run(lambda settings: _show(settings, job_id), data)
    if as_json:
        print_json(job)
        return
    typer.echo(f"{job['id']}  {job['store']}  {job['state']}  {_account(job)}")
    for path in job["paths"]:
        typer.echo(f"  of {path}")
    for file in job["files"]:
        typer.echo(f"  {file['outcome']} ({file['reason']}) {file['uri']}: {file['message']}")


@app.command("run")
def work(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Do the ingests that wait or were stopped in the middle; several such workers may run at once."""
    done = run(_work, data)
    if as_json:
        print_json({"jobs": done})
    elif not done:
        typer.echo("No ingest waits.")
    if any(job.get("failed") or "error" in job for job in done):
        raise typer.Exit(SOME_FILES_FAILED)


async def _list(settings: Settings) -> list[dict[str, Any]]:
    from rag.ledger.connection import connect
    from rag.ledger.jobs import Jobs

    engine = connect(settings.data_dir, settings.ledger_url)
    known = Jobs(engine)
    found = [_as_dict(job, known) for job in known.all()]
    engine.dispose()
    return found


async def _show(settings: Settings, job_id: str) -> dict[str, Any]:
    from rag.ledger.connection import connect
    from rag.ledger.jobs import Jobs
    from rag.ledger.refusals import Refusals

    engine = connect(settings.data_dir, settings.ledger_url)
    known = Jobs(engine)
    job = known.get(job_id)
    below = tuple(f"{path.rstrip('/')}/" for path in job.paths)
    refused = [
        each for each in Refusals(engine).all(job.store_id) if each.uri in job.paths or each.uri.startswith(below)
    ]
    files = [
        {"uri": each.uri, "outcome": each.outcome, "reason": each.reason, "message": each.message} for each in refused
    ]
    found = _as_dict(job, known) | {"files": files}
    engine.dispose()
    return found


async def _work(settings: Settings) -> list[dict[str, Any]]:
    from ingest.working import work_off
    from rag.assembly import open_engine

    done: list[dict[str, Any]] = []

    def on_done(job: Job, result: IngestSummary | QuothError) -> None:
        account = {"error": str(result)} if isinstance(result, Exception) else result.as_dict()
        done.append({"id": job.id, "store": job.store, **account})
        typer.echo(f"{job.id[:8]}  {job.store}  {account.get('error') or _counts(account)}", err=True)

    async with open_engine(settings) as engine:
        await work_off(engine, on_done)
    return done


def _as_dict(job: Job, known: Jobs) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": job.id, "store": job.store, "state": job.state, "paths": list(job.paths), "created_at": job.created_at,
        "started_at": job.started_at, "finished_at": job.finished_at, "error": job.error, "counts": dict(job.counts),
    }  # fmt: skip
    if job.state in ("running", "stopped") and job.started_at is not None:
        progress = known.progress(job.id)
        seconds = max(time.time() - job.started_at, 1e-3)
        found |= {"found": progress.found, "done": progress.done}
        if job.state == "running" and progress.done_bytes:
            found["bytes_per_second"] = round(progress.done_bytes / seconds)
            found["seconds_left"] = round(progress.todo_bytes / progress.done_bytes * seconds)
    return found


def _account(job: dict[str, Any]) -> str:
    if job["state"] == "done":
        return _counts(job["counts"])
    if job["state"] == "failed":
        return str(job["error"])
    if "found" not in job:
        return ""
    account = f"{job['done']} of {job['found']} files"
    if "seconds_left" in job:
        account += f", {job['bytes_per_second'] / 1000:.0f} kB/s, {timedelta(seconds=job['seconds_left'])} left"
    return account


def _counts(counts: dict[str, Any]) -> str:
    skipped, failed = sum(counts["skipped"].values()), sum(counts["failed"].values())
    return (
        f"{counts['found']} files: {counts['new']} new, {counts['changed']} changed, {counts['unchanged']} unchanged, "
        f"{counts['removed']} removed, {skipped} skipped, {failed} failed; {counts['seconds']:.1f} s"
    )


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")
