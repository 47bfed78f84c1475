"""/v1/vector_stores/ID/file_batches: many uploads at once, and how far they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from api.dependencies import CallerDep, Live, LiveDep
from api.errors import describe
from api.routes.store_files import StatusQuery
from api.schemas.conversations import page
from api.schemas.paging import MAX_ID_CHARACTERS, AfterQuery, BeforeQuery, LimitQuery, OrderQuery
from api.schemas.store_files import FileBatchObject, FileBatchRequest, StoreFileList, batch_object, store_file_object
from api.streaming import EventStream, Terminal, frame
from api.vector_stores import POLL_AFTER, OpenStoreDep, ReadableFilesDep, StoreDep, attachments_of, to_attach
from rag.concurrency import in_thread
from rag.errors import QuothError
from rag.ledger.readable_files import ReadableFiles
from rag.ledger.stores import Store

router = APIRouter(prefix="/v1/vector_stores/{store_id}/file_batches", tags=["Vector stores"])

BatchIdPath = Annotated[str, Path(max_length=MAX_ID_CHARACTERS)]


@router.post("", response_model=FileBatchObject)
async def create_file_batch(
    store: OpenStoreDep, files: ReadableFilesDep, body: FileBatchRequest, live: LiveDep, caller: CallerDep
) -> dict[str, Any]:
    """Have a store read many uploads as one job."""
    items = await to_attach(live, caller, body.items)
    _, batch_id = await attachments_of(live).attach(store, items, with_batch=True)
    return await in_thread(_shown, store, files, batch_id or "")


@router.get("/{batch_id}", response_model=FileBatchObject)
async def retrieve_file_batch(
    batch_id: BatchIdPath, store: StoreDep, files: ReadableFilesDep, response: Response
) -> dict[str, Any]:
    """How far a batch is."""
    shown = await in_thread(_shown, store, files, batch_id)
    if shown["status"] == "in_progress":
        response.headers.update(POLL_AFTER)
    return shown


@router.post("/{batch_id}/cancel", response_model=FileBatchObject)
async def cancel_file_batch(
    batch_id: BatchIdPath, store: StoreDep, files: ReadableFilesDep, live: LiveDep
) -> dict[str, Any]:
    """Read no more of a batch; what is completed stays."""
    await in_thread(files.get_batch, batch_id)
    await attachments_of(live).cancel(store, batch_id)
    return await in_thread(_shown, store, files, batch_id)


@router.get("/{batch_id}/files", response_model=StoreFileList)
async def list_files_in_file_batch(
    batch_id: BatchIdPath,
    store: StoreDep,
    files: ReadableFilesDep,
    live: LiveDep,
    status: StatusQuery = None,
    limit: LimitQuery = 20,
    order: OrderQuery = "desc",
    after: AfterQuery = None,
    before: BeforeQuery = None,
) -> dict[str, Any]:
    """List the files of a batch; one that came with a later batch again is in that one."""
    await in_thread(files.get_batch, batch_id)
    found, has_more = await in_thread(
        files.page, limit=limit, after=after, before=before, order=order, status=status, batch_id=batch_id
    )
    return page([store_file_object(store.public_id, row, live.engine.chunk_tokens) for row in found], has_more)


@router.get(
    "/{batch_id}/events",
    status_code=200,
    response_class=EventStream,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream_file_batch(batch_id: BatchIdPath, store: StoreDep, files: ReadableFilesDep, live: LiveDep) -> Response:
    """Follow a batch by server-sent events: each change of its counts, and at last what became of it."""
    await in_thread(files.get_batch, batch_id)
    return EventStream(_events(live, store, files, batch_id), _failed)


async def _events(live: Live, store: Store, files: ReadableFiles, batch_id: str) -> AsyncIterator[bytes]:
    last: dict[str, Any] = {}
    try:
        async for _ in attachments_of(live).progress(store, batch_id):
            shown = await in_thread(_shown, store, files, batch_id)
            if shown["status"] == "in_progress" and shown != last:
                yield _event(shown)
            last = shown
        yield Terminal(_event(await in_thread(_shown, store, files, batch_id)))
    except QuothError as error:  # the store was deleted meanwhile, for example
        yield _failed(error)


def _event(batch: dict[str, Any]) -> bytes:
    return frame({"type": f"vector_store.files_batch.{batch['status']}", "batch": batch})


def _failed(error: QuothError) -> bytes:
    return Terminal(frame({"type": "error", **describe(error)[1]}))


def _shown(store: Store, files: ReadableFiles, batch_id: str) -> dict[str, Any]:
    return batch_object(store.public_id, files.get_batch(batch_id), files.counts(batch_id))
