"""GET /v1/models: what can be asked is a model. Every store is one, and so is the embedder."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.dependencies import CallerDep, Live, LiveDep
from api.openapi import shows
from api.schemas.models import ModelList, ModelObject
from rag.access import Caller
from rag.concurrency import in_thread
from rag.errors import UnknownModelError
from rag.ledger.stores import Store
from rag.tokens import replace_surrogates

router = APIRouter(tags=["Models"])

OWNER = "quoth"


@router.get("/v1/models", **shows(ModelList))
async def list_models(live: LiveDep, caller: CallerDep) -> dict[str, Any]:
    """List `quoth`, the stores, and the embedder, as models."""
    found = await in_thread(live.engine.stores.visible, caller)
    stores = [_of_store(store) for store in found]
    return {"object": "list", "data": [_model(OWNER), *stores, _model(live.engine.embedder.fingerprint.model)]}


@router.get("/v1/models/{model:path}", **shows(ModelObject))
async def retrieve_model(model: str, live: LiveDep, caller: CallerDep) -> dict[str, Any]:
    """One of them; a store by its name, its id or its title."""
    if model in (OWNER, live.engine.embedder.fingerprint.model):
        return _model(model)
    return _of_store(await resolve_model(live, caller, model))


async def resolve_model(live: Live, caller: Caller, model: str) -> Store:
    """The store that a model's name stands for, if it is there for a caller.

    Raises:
        StoreNotFoundError: it is not.
        InvalidInputError: several stores have this title.
    """
    wanted = store_of_model(model, live.engine.settings.store)
    return await in_thread(live.engine.stores.resolve, wanted, caller)


def store_of_model(model: str, default: str) -> str:
    """The store that a model's name stands for: `quoth/STORE`, or `quoth` for the default one."""
    if model == OWNER:
        return default
    named = replace_surrogates(model)  # an error says it, and must be text
    owner, _, store = named.partition("/")
    if owner != OWNER or not store:
        raise UnknownModelError(named)
    return store


def _of_store(store: Store) -> dict[str, Any]:
    return {**_model(f"{OWNER}/{store.name}", int(store.created_at)), "name": store.title or store.name}


def _model(name: str, created: int = 0) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": OWNER}
