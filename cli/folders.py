"""`quoth ingest`, `quoth sync`, `quoth watch` and `quoth remove`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cli.documents import where
from cli.execution import SOME_FILES_FAILED, DataOption, JsonOption, StoreOption, print_json, run

if TYPE_CHECKING:
    from ingest.job_run import OnProgress, Progress
    from ingest.outcomes import IngestSummary
    from ingest.watching import WatchEvent
    from rag.assembly import Engine
    from rag.ledger.jobs import Job
    from rag.settings import Settings

# Files that `sync` names; of more, their number says more.
MOST_NAMES = 100

PathsArgument = Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.", show_default=False)]

RetryOption = Annotated[bool, typer.Option("--retry", help="Try again also what failed as often as it may.")]


def ingest(
    paths: PathsArgument, store: StoreOption = None, data: DataOption = None, as_json: JsonOption = False,
    retry: RetryOption = False,
    later: Annotated[bool, typer.Option("--later", help="Only note it: `quoth jobs run` does it.")] = False,
) -> None:  # fmt: skip
    """Bring a store in step with files and folders: index what is new or changed, remove what is gone."""
    if later:
        job = run(lambda settings: _submit(settings, paths, store, retry=retry), data)
        if as_json:
            print_json({"id": job.id, "store": job.store, "state": job.state, "paths": list(job.paths)})
        else:
            typer.echo(f"{job.id[:8]} waits. `quoth jobs run` does it, `quoth jobs` shows how far it is.")
        return
    summary = run(lambda settings: _ingest(settings, paths, store, quiet=as_json, retry=retry), data)
    if as_json:
        print_json(summary.as_dict())
    else:
        _print_summary(summary)
    _exit_by(summary)


def sync(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH...]", help="Files and folders.")] = None,
    store: StoreOption = None, data: DataOption = None, as_json: JsonOption = False, retry: RetryOption = False,
) -> None:  # fmt: skip
    """As `ingest`, and say what was new, changed, moved and deleted; without PATH, all that was ingested before."""
    names = _Names()
    summary = run(
        lambda settings: _ingest(settings, paths or [], store, quiet=as_json, also=names.on_progress, retry=retry), data
    )
    if as_json:
        print_json(summary.as_dict())
    else:
        typer.echo(_what_changed(summary))
        names.print(summary.indexed + summary.removed)
        _print_summary(summary)
    _exit_by(summary)


def remove(
    places: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files and folders, there or not; or URIs.")],
    store: StoreOption = None, data: DataOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Take out of a store what was indexed at and below PATH; the files stay."""
    count = run(lambda settings: _remove(settings, places, store), data)
    if as_json:
        print_json({"removed": count})
    else:
        typer.echo(f"Removed {count} documents.")


def watch(
    paths: PathsArgument, store: StoreOption = None, data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each run.")] = False,
) -> None:  # fmt: skip
    """Bring a store in step, and keep it so until interrupted."""
    run(lambda settings: _watch(settings, paths, store, as_json=as_json), data)


async def _ingest(
    settings: Settings, paths: list[Path], store: str | None, *, quiet: bool, also: OnProgress = lambda _: None,
    retry: bool = False,
) -> IngestSummary:  # fmt: skip
    from ingest.pipeline import Ingestor
    from rag.assembly import open_engine

    async with open_engine(settings) as engine:
        if not paths:
            uploads = await _refresh_uploads(engine, store or settings.store)
            if uploads and not engine.jobs.roots(engine.stores.get(store or settings.store).id):
                return uploads
        paths = paths or _ingested_before(engine, store or settings.store)
        with _bar(shown=not quiet and sys.stderr.isatty()) as update:

            def on_progress(progress: Progress) -> None:
                update(progress)
                also(progress)

            return await Ingestor(engine).run(
                paths, store or settings.store, retry=retry, on_progress=on_progress, on_wait=_say_waiting
            )


async def _refresh_uploads(engine: Engine, store: str) -> IngestSummary | None:
    """Read those uploads again that another version or other settings have read."""
    from ingest.refreshing import refresh_uploads

    summary = await refresh_uploads(engine, engine.stores.get(store), _say_waiting)
    if summary:
        _say(f"{summary.indexed} of {summary.found} uploads were read again, {summary.failed.total()} failed.")
    return summary


def _ingested_before(engine: Engine, store: str) -> list[Path]:
    """The folders and files that a store was made of. One that is not there now is left alone, and said."""
    from ingest.sources import path_of
    from rag.errors import InvalidInputError

    paths = [path_of(uri) for uri in engine.jobs.roots(engine.stores.get(store).id)]
    there = [path for path in paths if path.exists()]
    for path in paths:
        if path not in there:
            _say(f"{path} is not there now; what was indexed of it stays. `quoth remove` takes it out.")
    if not there:
        raise InvalidInputError(f"Nothing that was ingested into {store!r} is there now. Name a folder.")
    return there


async def _remove(settings: Settings, places: list[str], store: str | None) -> int:
    from ingest.removal import remove as remove_documents
    from rag.assembly import open_engine

    async with open_engine(settings) as engine:
        return await remove_documents(engine, store or settings.store, places)


async def _submit(settings: Settings, paths: list[Path], store: str | None, *, retry: bool) -> Job:
    from ingest.pipeline import Ingestor
    from rag.assembly import open_engine

    async with open_engine(settings) as engine:
        return await Ingestor(engine).submit(paths, store or settings.store, retry=retry)


async def _watch(settings: Settings, paths: list[Path], store: str | None, *, as_json: bool) -> None:
    from ingest.pipeline import Ingestor
    from ingest.watching import watch as keep_in_step
    from rag.assembly import open_engine

    def on_event(event: WatchEvent) -> None:
        if event.kind != "ran":
            _say(event.message)
        elif as_json:
            _print_run_as_json(event)
        else:
            _print_run(event)

    async with open_engine(settings) as engine:
        ingestor, name = Ingestor(engine), store or settings.store

        def bring_in_step(some: Sequence[Path]) -> Coroutine[Any, Any, IngestSummary]:
            return ingestor.run(some, name, on_wait=_say_waiting)

        with _stopped_by_signals() as stop:
            await keep_in_step(
                bring_in_step, paths, rescan_seconds=settings.ingest.rescan_seconds, stop=stop, on_event=on_event,
                leave_out=[settings.data_dir],
            )  # fmt: skip


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[asyncio.Event]:
    """An event that the first interrupt sets; a second one ends the process as it would any other."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def on_signal() -> None:
        stop.set()
        for each in signals:
            loop.remove_signal_handler(each)

    for each in signals:
        loop.add_signal_handler(each, on_signal)
    try:
        yield stop
    finally:
        for each in signals:
            loop.remove_signal_handler(each)


def _say_waiting() -> None:
    _say("Another ingest of this store is running; waiting for it to end ...")


def _say(message: str) -> None:
    """Tell people how things go. Nobody may be listening, which is no reason to stop the work."""
    with contextlib.suppress(OSError):
        typer.echo(message, err=True)


@contextlib.contextmanager
def _bar(*, shown: bool) -> Iterator[Callable[[Progress], None]]:
    """A progress bar on standard error, or nothing; a terminal that goes away takes only the bar with it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True, disable=not shown,
    )  # fmt: skip
    task = bar.add_task("Reading files", total=None)
    with contextlib.suppress(OSError):
        bar.start()
    try:
        yield lambda progress: bar.update(task, total=progress.found, completed=progress.done)
    finally:
        with contextlib.suppress(OSError):
            bar.stop()


class _Names:
    """The files that a run indexed or removed, as many as are worth reading."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def on_progress(self, progress: Progress) -> None:
        if len(self._lines) >= MOST_NAMES:
            return
        if progress.removed:
            self._lines.append(f"  {'removed':<8} {where(progress.removed, {})}")
        elif progress.last is not None and progress.last.outcome == "indexed":
            self._lines.append(f"  {progress.last.reason:<8} {where(progress.last.uri, {})}")

    def print(self, count: int) -> None:
        for line in self._lines:
            typer.echo(line)
        if count > len(self._lines):
            typer.echo(f"  ... and {count - len(self._lines)} more")


def _what_changed(summary: IngestSummary) -> str:
    return (
        f"{summary.new} new, {summary.changed} changed, {summary.moved} moved, "
        f"{summary.removed - summary.moved} deleted"
    )


def _print_run(event: WatchEvent) -> None:
    summary = cast("IngestSummary", event.result)
    failed = f", {summary.failed.total()} failed" if summary.failed else ""
    places = ", ".join(where(path.as_uri(), {}) for path in event.paths)
    typer.echo(f"{datetime.now():%H:%M:%S} {places}: {_what_changed(summary)}{failed} ({event.seconds:.1f} s)")


def _print_run_as_json(event: WatchEvent) -> None:
    summary = cast("IngestSummary", event.result)
    at = datetime.now().astimezone().isoformat(timespec="seconds")
    print_json({"at": at, "paths": [path.as_uri() for path in event.paths], **summary.as_dict()})
    sys.stdout.flush()


def _print_summary(summary: IngestSummary) -> None:
    typer.echo(
        f"{summary.found} files found = {summary.indexed} indexed + {summary.unchanged} unchanged "
        f"+ {summary.skipped.total()} skipped + {summary.failed.total()} failed; {summary.removed} removed"
    )
    for word, reasons in (("skipped", summary.skipped), ("failed", summary.failed)):
        for reason, count in sorted(reasons.items()):
            typer.echo(f"  {word}: {count} {reason}")
    typer.echo(f"Store {summary.store!r} holds {summary.chunks} chunks ({summary.seconds:.1f} s).")
    if summary.failed:
        typer.echo("`quoth status --files` names the files and says why.")


def _exit_by(summary: IngestSummary) -> None:
    if summary.failed:
        raise typer.Exit(SOME_FILES_FAILED)
