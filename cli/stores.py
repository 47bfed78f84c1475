"""`quoth status` and `quoth stores`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.execution import DataOption, JsonOption, print_json, run

if TYPE_CHECKING:
    from rag.settings import Settings

app = typer.Typer(help="The stores of the data directory.", invoke_without_command=True)


@app.callback()
def stores(context: typer.Context, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the stores."""
    if context.invoked_subcommand is not None:
        return
    found = run(_summaries, data)
    if as_json:
        print_json({"stores": found})
        return
    if not found:
        typer.echo("There is no store yet: quoth ingest PATH makes one.")
    for store in found:
        typer.echo(
            f"{store['name']:<35} {store['documents']:>7} documents {store['chunks']:>9} chunks  {store['model']}"
        )
        typer.echo(f"    {_as_served(store)}")


@app.command("delete")
def delete(name: str, data: DataOption = None) -> None:
    """Delete a store: its documents, chunks and vectors. The files they came from stay."""
    run(lambda settings: _delete(settings, name), data)
    typer.echo(f"Deleted the store {name!r}.")


def status(
    files: Annotated[bool, typer.Option("--files", help="Name the skipped and failed files.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is configured, what the stores hold, and which files were left out."""
    found = run(lambda settings: _status(settings, files=files), data)
    if as_json:
        print_json(found)
        return
    for key in ("data_dir", "embedder", "chat", "vectors"):
        typer.echo(f"{key:<10} {found[key]}")
    for store in found["stores"]:
        typer.echo(
            f"store      {_called(store)}: {store['documents']} documents, {store['chunks']} chunks, "
            f"{store['skipped']} files skipped, {store['failed']} failed"
        )
        for file in store.get("files", []):
            typer.echo(f"             {file['outcome']} ({file['reason']}) {file['uri']}: {file['message']}")
    if not found["stores"]:
        typer.echo("There is no store yet: quoth ingest PATH makes one.")


def _as_served(store: dict[str, Any]) -> str:
    """How the API knows a store; a name of its own is its id there."""
    served = [] if store["public_id"] == store["name"] else [store["public_id"]]
    titled = [f'called "{store["title"]}"'] if store["title"] else []
    return ", ".join([*served, *titled, f"tenant {store['tenant']}"])


def _called(store: dict[str, Any]) -> str:
    return f'{store["name"]} "{store["title"]}"' if store["title"] else str(store["name"])


async def _summaries(settings: Settings) -> list[dict[str, Any]]:
    from rag.ledger.connection import connect
    from rag.ledger.stores import Stores

    engine = connect(settings.data_dir, settings.ledger_url)
    known = Stores(engine)
    found = [asdict(known.summary(known.get(name))) for name in known.names()]
    engine.dispose()
    return found


async def _status(settings: Settings, *, files: bool) -> dict[str, Any]:
    from rag.ledger.connection import connect
    from rag.ledger.refusals import Refusals
    from rag.ledger.stores import Stores

    found = await _summaries(settings)
    if files:
        engine = connect(settings.data_dir, settings.ledger_url)
        for store in found:
            refused = Refusals(engine).all(Stores(engine).get(store["name"]).id)
            store["files"] = [asdict(refusal) for refusal in refused]
        engine.dispose()
    return {
        "data_dir": str(settings.data_dir.resolve()),
        "embedder": f"{settings.embedder.model} ({settings.embedder.backend})",
        "chat": settings.chat.model,
        "vectors": settings.qdrant.url or "Qdrant Edge, in the data directory",
        "stores": found,
    }


async def _delete(settings: Settings, name: str) -> None:
    from rag.assembly import delete_store

    await delete_store(settings, name)
