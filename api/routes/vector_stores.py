"""/v1/vector_stores: stores, as OpenAI's clients make and change them."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter

from api.dependencies import CallerDep, Live, LiveDep
from api.schemas.conversations import page
from api.schemas.paging import AfterQuery, BeforeQuery, LimitQuery, OrderQuery
from api.schemas.store_files import StoreFileRequest
from api.schemas.vector_stores import (
    VectorStoreDeleted,
    VectorStoreList,
    VectorStoreObject,
    VectorStoreRequest,
    VectorStoreUpdate,
    store_object,
)
from api.vector_stores import StoreDep, attachments_of, to_attach
from rag.access import Caller
from rag.assembly import drop_store
from rag.concurrency import in_thread
from rag.errors import QuothError
from rag.ledger.readable_files import ReadableFiles
from rag.ledger.stores import Store, StoreChanges

router = APIRouter(tags=["Vector stores"])


@router.post("/v1/vector_stores", response_model=VectorStoreObject)
async def create_vector_store(body: VectorStoreRequest, live: LiveDep, caller: CallerDep) -> dict[str, Any]:
    """Make a store for the configured embedder, and have it read the files that are named."""
    wanted = [
        StoreFileRequest(file_id=file_id, chunking_strategy=body.chunking_strategy)
        for file_id in dict.fromkeys(body.file_ids or ())
    ]
    items = await to_attach(live, caller, wanted)
    store = await in_thread(_create, live, caller, body)
    try:
        if items:
            await attachments_of(live).attach(store, items)
    except QuothError:
        await drop_store(live.engine, store)  # a file was deleted in this moment: nobody knows the store yet
        raise
    return await in_thread(_shown, live, caller, store)


@router.get("/v1/vector_stores", response_model=VectorStoreList)
async def list_vector_stores(
    live: LiveDep,
    caller: CallerDep,
    limit: LimitQuery = 20,
    order: OrderQuery = "desc",
    after: AfterQuery = None,
    before: BeforeQuery = None,
) -> dict[str, Any]:
    """List stores by the time they were made, those that folders were ingested into among them."""
    return await in_thread(_page, live, caller, limit=limit, order=order, after=after, before=before)


@router.get("/v1/vector_stores/{store_id}", response_model=VectorStoreObject)
async def retrieve_vector_store(store: StoreDep, live: LiveDep, caller: CallerDep) -> dict[str, Any]:
    """One store."""
    return await in_thread(_shown, live, caller, store)


@router.post("/v1/vector_stores/{store_id}", response_model=VectorStoreObject)
async def update_vector_store(
    store: StoreDep, body: VectorStoreUpdate, live: LiveDep, caller: CallerDep
) -> dict[str, Any]:
    """Change what a store is called, its metadata, or when it expires; what is left out stays."""
    changes = StoreChanges()
    if body.name is not None:
        changes["title"] = body.name
    if "metadata" in body.model_fields_set:
        changes["labels"] = dict(body.metadata or {})
    if "expires_after" in body.model_fields_set:
        changes["expires_days"] = body.expires_after.days if body.expires_after else None
    changed = await in_thread(live.engine.stores.update, store, changes)
    return await in_thread(_shown, live, caller, changed)


@router.delete("/v1/vector_stores/{store_id}", response_model=VectorStoreDeleted)
async def delete_vector_store(store: StoreDep, live: LiveDep) -> VectorStoreDeleted:
    """Delete a store and all that it holds, also while it is being written to. Uploads stay, and so do folders."""
    await drop_store(live.engine, store)
    return VectorStoreDeleted(id=store.public_id)


def _create(live: Live, caller: Caller, body: VectorStoreRequest) -> Store:
    engine = live.engine
    store = engine.stores.create(
        title=body.name or "", description=body.description or "", labels=body.metadata or {},
        expires_days=body.expires_after.days if body.expires_after else None, tenant=caller.tenant,
        collection=engine.collection, fingerprint=engine.embedder.fingerprint,
    )  # fmt: skip
    if caller.store_ids is not None:
        engine.keys.bind(caller.key_id, store.id)
    return store


def _page(live: Live, caller: Caller, **asked: Any) -> dict[str, Any]:
    found, has_more = live.engine.stores.page(caller, **asked)
    return page([_shown(live, caller, store) for store in found], has_more)


def _shown(live: Live, caller: Caller, store: Store) -> dict[str, Any]:
    files = ReadableFiles(live.engine.store_files, store, caller)
    return store_object(store, files.counts(), files.usage(), time.time())
