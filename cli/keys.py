"""`quoth keys`: who may call the API."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.execution import DataOption, JsonOption, print_json, run

if TYPE_CHECKING:
    from rag.ledger.keys import ApiKey, Keys
    from rag.ledger.stores import Stores
    from rag.settings import Settings

app = typer.Typer(help="Keys of the HTTP API.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Keys of the HTTP API."""


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[str, typer.Option(help="read, write or admin; each includes those before it.")] = "read",
    tenant: Annotated[str, typer.Option(help="Whose stores and conversations it sees.")] = "default",
    store: Annotated[
        list[str] | None, typer.Option("--store", "-s", help="Only this store; may be repeated.", metavar="NAME")
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(help="Of documents with groups, only those of this one; may be repeated.", metavar="GROUP"),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key, and show it this once."""
    shown, secret = run(lambda settings: _create(settings, name, scope, tenant, store, group), data)
    if as_json:
        print_json({**shown, "key": secret})
        return
    typer.echo(f"{_describe(shown)}\n", err=True)
    typer.echo(secret)
    typer.echo("\nKeep it: it is not shown again. Send it as: Authorization: Bearer KEY", err=True)


@app.command("list")
def list_keys(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the keys: what they may do, and when they were last used. The keys themselves are not kept."""
    found = run(_list, data)
    if as_json:
        print_json({"keys": found})
        return
    if not found:
        typer.echo("There is no key yet: quoth keys create NAME makes one.")
    for shown in found:
        typer.echo(_describe(shown))


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, or the beginning of it.", metavar="ID")], data: DataOption = None
) -> None:
    """Revoke a key for good; a running server refuses it within seconds."""
    shown = run(lambda settings: _revoke(settings, key), data)
    typer.echo(f"Revoked {shown['id']} ({shown['name']}).")


@asynccontextmanager
async def _ledger(settings: Settings) -> AsyncIterator[tuple[Keys, Stores]]:
    from rag.ledger.connection import connect
    from rag.ledger.keys import Keys
    from rag.ledger.stores import Stores

    engine = connect(settings.data_dir, settings.ledger_url)
    try:
        yield Keys(engine), Stores(engine)
    finally:
        engine.dispose()


async def _create(
    settings: Settings, name: str, scope: str, tenant: str, bound: list[str] | None, groups: list[str] | None
) -> tuple[dict[str, Any], str]:
    from typing import cast

    from rag.access import Scope

    async with _ledger(settings) as (known, stores):
        identities = [_store_id(stores, store, tenant) for store in bound] if bound else None
        key, secret = known.create(
            name, scope=cast(Scope, scope), tenant=tenant, store_ids=identities, groups=groups or None
        )
        return _shown(key, stores), secret


async def _list(settings: Settings) -> list[dict[str, Any]]:
    async with _ledger(settings) as (known, stores):
        return [_shown(key, stores) for key in known.all()]


async def _revoke(settings: Settings, beginning: str) -> dict[str, Any]:
    async with _ledger(settings) as (known, stores):
        return _shown(known.revoke(beginning), stores)


def _store_id(stores: Stores, wanted: str, tenant: str) -> str:
    """Of a store of the tenant by name, id or title; of another's, which the key is to share, by its name."""
    from rag.access import Caller
    from rag.errors import StoreNotFoundError

    try:
        return stores.resolve(wanted, Caller(tenant=tenant)).id
    except StoreNotFoundError:
        return stores.get(wanted).id


def _shown(key: ApiKey, stores: Stores) -> dict[str, Any]:
    names = {store.id: store.title or store.name for store in map(stores.get, stores.names())}
    bound = None if key.store_ids is None else sorted(names.get(each, f"{each} (deleted)") for each in key.store_ids)
    return {
        "id": key.id, "name": key.name, "scope": key.scope, "tenant": key.tenant, "stores": bound,
        "groups": None if key.groups is None else sorted(key.groups), "created_at": key.created_at,
        "used_at": key.used_at, "revoked_at": key.revoked_at,
    }  # fmt: skip


def _describe(shown: dict[str, Any]) -> str:
    parts = [shown["id"], shown["name"], shown["scope"], f"tenant {shown['tenant']}"]
    for what in ("stores", "groups"):
        if shown[what] is not None:
            parts.append(f"{what} {', '.join(shown[what]) or 'none'}")
    if shown["revoked_at"] is not None:
        parts.append(f"revoked {_day(shown['revoked_at'])}")
    else:
        parts.append(f"last used {_day(shown['used_at'])}" if shown["used_at"] else "never used")
    return "  ".join(parts)


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
