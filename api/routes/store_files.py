"""/v1/vector_stores/ID/files: which uploads a store holds, and what became of each."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from api.dependencies import CallerDep, Live, LiveDep
from api.schemas.conversations import page
from api.schemas.paging import AfterQuery, BeforeQuery, LimitQuery, OrderQuery
from api.schemas.store_files import (
    FileContent,
    FileText,
    StoreFileDeleted,
    StoreFileList,
    StoreFileObject,
    StoreFileRequest,
    StoreFileUpdate,
    store_file_object,
)
from api.vector_stores import (
    POLL_AFTER,
    FileIdPath,
    OpenStoreDep,
    ReadableFilesDep,
    StoreDep,
    attachments_of,
    to_attach,
)
from rag.attributes import upload_uri
from rag.concurrency import in_thread
from rag.errors import InvalidInputError
from rag.ledger.store_file_records import Status, StoreFile
from rag.ledger.stores import Store

router = APIRouter(prefix="/v1/vector_stores/{store_id}/files", tags=["Vector stores"])

PIECE_CHARACTERS = 50_000

StatusQuery = Annotated[Status | None, Query(alias="filter", description="of this status only")]


@router.post("", response_model=StoreFileObject)
async def create_vector_store_file(
    store: OpenStoreDep, body: StoreFileRequest, live: LiveDep, caller: CallerDep
) -> dict[str, Any]:
    """Have a store read an upload. It is acknowledged when the job is safe in the ledger; its status tells the rest."""
    items = await to_attach(live, caller, [body])
    (row,), _ = await attachments_of(live).attach(store, items)
    return store_file_object(store.public_id, row, live.engine.chunk_tokens)


@router.get("", response_model=StoreFileList)
async def list_vector_store_files(
    store: StoreDep,
    files: ReadableFilesDep,
    live: LiveDep,
    status: StatusQuery = None,
    limit: LimitQuery = 20,
    order: OrderQuery = "desc",
    after: AfterQuery = None,
    before: BeforeQuery = None,
) -> dict[str, Any]:
    """List the uploads of a store by the time they were attached. Documents of folders are in /v1/documents."""
    found, has_more = await in_thread(files.page, limit=limit, after=after, before=before, order=order, status=status)
    return page([store_file_object(store.public_id, row, live.engine.chunk_tokens) for row in found], has_more)


@router.get("/{file_id}", response_model=StoreFileObject)
async def retrieve_vector_store_file(
    file_id: FileIdPath, store: StoreDep, files: ReadableFilesDep, live: LiveDep, response: Response
) -> dict[str, Any]:
    """One upload of a store."""
    row = await in_thread(files.get, file_id)
    if row.status == "in_progress":
        response.headers.update(POLL_AFTER)
    return store_file_object(store.public_id, row, live.engine.chunk_tokens)


@router.post("/{file_id}", response_model=StoreFileObject)
async def update_vector_store_file(
    file_id: FileIdPath, store: OpenStoreDep, files: ReadableFilesDep, body: StoreFileUpdate, live: LiveDep
) -> dict[str, Any]:
    """Give an upload other attributes, all of them anew; nothing is embedded again."""
    await in_thread(files.get, file_id)
    row = await attachments_of(live).update(store, file_id, body.attributes or {})
    return store_file_object(store.public_id, row, live.engine.chunk_tokens)


@router.delete("/{file_id}", response_model=StoreFileDeleted)
async def delete_vector_store_file(
    file_id: FileIdPath, store: StoreDep, files: ReadableFilesDep, live: LiveDep
) -> StoreFileDeleted:
    """Take an upload out of a store; it is out of sight at once. DELETE /v1/files/ID deletes the upload itself."""
    await in_thread(files.get, file_id)
    await attachments_of(live).detach(store, file_id)
    return StoreFileDeleted(id=file_id)


@router.get("/{file_id}/content", response_model=FileContent)
async def retrieve_vector_store_file_content(
    file_id: FileIdPath, store: StoreDep, files: ReadableFilesDep, live: LiveDep
) -> Response:
    """The text of an upload, as it was parsed and is searched: the pieces joined."""
    row = await in_thread(files.get, file_id)
    body = await in_thread(_content, live, store, row)
    return Response(body, media_type="application/json")


def _content(live: Live, store: Store, row: StoreFile) -> bytes:
    """JSON, made in a thread: it may be of millions of characters."""
    engine = live.engine
    upload = engine.files.find(row.file_id)
    uri = upload_uri(row.file_id, upload.filename) if upload else ""
    record = engine.documents.at(store.id, [uri]).get(uri)
    held = engine.documents.content(record) if record else None
    if held is None:
        raise InvalidInputError(
            f"The file {row.file_id!r} is {row.status} in this vector store: its text is there once it is completed."
        )
    starts = range(0, len(held.text), PIECE_CHARACTERS)
    pieces = [FileText(text=held.text[start : start + PIECE_CHARACTERS]) for start in starts]
    return FileContent(data=pieces).model_dump_json().encode()
