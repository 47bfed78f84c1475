"""GET /v1/models: every store is a model."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.dependencies import LiveDep
from rag.concurrency import in_thread
from rag.errors import StoreNotFoundError
from rag.ledger.stores import Store

router = APIRouter()

OWNER = "quoth"


@router.get("/v1/models")
async def list_models(live: LiveDep) -> dict[str, Any]:
    """List the stores as models."""
    stores = live.engine.stores
    found = await in_thread(lambda: [stores.get(name) for name in stores.names()])
    return {"object": "list", "data": [_as_model(store) for store in found]}


@router.get("/v1/models/{model:path}")
async def retrieve_model(model: str, live: LiveDep) -> dict[str, Any]:
    """One store as a model."""
    return _as_model(await in_thread(live.engine.stores.get, store_of_model(model, live.engine.settings.store)))


def store_of_model(model: str, default: str) -> str:
    """The store that a model's name stands for: `quoth/STORE`, or `quoth` for the default one."""
    if model == OWNER:
        return default
    owner, _, store = model.partition("/")
    if owner != OWNER or not store:
        raise StoreNotFoundError(model, [f"{OWNER}/STORE, with the name of a store"])
    return store


def _as_model(store: Store) -> dict[str, Any]:
    return {"id": f"{OWNER}/{store.name}", "object": "model", "created": int(store.created_at), "owned_by": OWNER}
