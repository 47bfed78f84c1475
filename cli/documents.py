"""`quoth ingest` and `quoth search`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.execution import SOME_FILES_FAILED, DataOption, JsonOption, StoreOption, print_json, run

if TYPE_CHECKING:
    from ingest.outcomes import IngestSummary
    from ingest.pipeline import OnProgress
    from rag.documents import SearchHit
    from rag.settings import Settings


def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.", show_default=False)],
    store: StoreOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a store in step with files and folders: index what is new or changed, remove what is gone."""
    summary = run(lambda settings: _ingest(settings, paths, store, quiet=as_json), data)
    if as_json:
        print_json(summary.as_dict())
    else:
        _print_summary(summary)
    if summary.failed:
        raise typer.Exit(SOME_FILES_FAILED)


def search(
    question: Annotated[str, typer.Argument(help="What to look for.")],
    store: StoreOption = None,
    k: Annotated[int | None, typer.Option("-k", help="How many passages.", metavar="N")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the passages that answer a question best."""
    hits = run(lambda settings: _search(settings, question, store, k), data)
    if as_json:
        print_json({"question": question, "hits": [hit_as_dict(hit) for hit in hits]})
        return
    if not hits:
        typer.echo("Nothing was found.")
    for number, hit in enumerate(hits, 1):
        _print_hit(number, hit)


def hit_as_dict(hit: SearchHit) -> dict[str, Any]:
    """A hit as JSON types."""
    chunk = hit.chunk
    return {
        "chunk_id": chunk.id, "document_id": chunk.document_id, "uri": hit.uri, "title": hit.title,
        "score": hit.score, "text": chunk.text, "char_start": chunk.char_start, "char_end": chunk.char_end,
        "page_start": chunk.locator.page, "page_end": chunk.locator.page_end or chunk.locator.page,
        "headings": list(chunk.headings), "locator": chunk.locator.as_dict(),
    }  # fmt: skip


async def _ingest(settings: Settings, paths: list[Path], store: str | None, *, quiet: bool) -> IngestSummary:
    from ingest.pipeline import Ingestor
    from rag.assembly import open_engine

    def waiting() -> None:
        typer.echo("Another ingest of this store is running; waiting for it to end ...", err=True)

    async with open_engine(settings) as engine:
        with _Bar(shown=not quiet and sys.stderr.isatty()) as bar:
            return await Ingestor(engine).run(
                paths, store or settings.store, on_progress=bar.on_progress, on_wait=waiting
            )


async def _search(settings: Settings, question: str, store: str | None, k: int | None) -> tuple[SearchHit, ...]:
    from rag.assembly import open_engine

    async with open_engine(settings) as engine:
        return (await engine.retriever.search(store or settings.store, question, k=k)).hits


class _Bar:
    """A progress bar on standard error, or nothing."""

    def __init__(self, *, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True, disable=not shown,
        )  # fmt: skip
        self._task = self._bar.add_task("Reading files", total=None)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def on_progress(self) -> OnProgress:
        return lambda progress: self._bar.update(self._task, total=progress.found, completed=progress.done)


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


def _print_hit(number: int, hit: SearchHit) -> None:
    typer.secho(f"{number}. {hit.title}", bold=True, nl=False)
    typer.secho(f"  {hit.score:.3f}  {where(hit.uri, hit.chunk.locator.as_dict())}", dim=True)
    if hit.chunk.headings:
        typer.secho("   " + " > ".join(hit.chunk.headings), dim=True)
    for line in hit.chunk.text.strip().splitlines()[:6]:
        typer.echo(f"   {line}")


def where(uri: str, locator: dict[str, Any]) -> str:
    """A source and the place in it, for people."""
    from urllib.parse import unquote, urlsplit

    name = unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
    place = ""
    if "page" in locator:
        place = f", page {locator.get('page_label') or locator['page']}"
    elif "lines" in locator:
        place = f":{locator['lines'][0]}"
    return name + place
