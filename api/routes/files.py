"""/v1/files: documents as they were uploaded."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import IO, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.dependencies import CallerDep, Live, LiveDep
from api.idempotency import digest_of, holding, idempotency_key, kept, owner_of, replayed
from api.schemas.conversations import page
from api.schemas.files import UPLOAD_BODY, FileDeleted, FileList, FileObject, UploadFields, file_object
from api.upload_form import read_upload_form
from ingest.upload_removal import delete_upload
from ingest.uploads import Upload, described, path_of_upload, receiving
from rag.concurrency import in_thread
from rag.errors import StorageError
from rag.ledger.files import Order, StoredFile
from rag.ledger.idempotency import KeptResponse

router = APIRouter(tags=["Files"])

CLIENT_CLOSED_REQUEST = 499
MOST_FILES = 10_000
PIECE_BYTES = 256 * 1024

FileIdPath = Annotated[str, Path(max_length=64)]


@router.post("/v1/files", response_model=FileObject, openapi_extra={"requestBody": UPLOAD_BODY})
async def upload_file(request: Request, live: LiveDep, caller: CallerDep) -> Response:
    """Store a document. It is acknowledged when it is safe on disk; a vector store has to be told to read it."""
    key = idempotency_key(request.headers)
    max_bytes = live.engine.settings.server.max_upload_bytes
    async with receiving(live.engine.settings.data_dir) as upload:
        content_type = request.headers.get("content-type", "")
        try:
            filename, sent = await read_upload_form(content_type, request.stream(), upload, max_bytes)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        fields = _fields(sent)
        file = described(upload, filename, fields.purpose, caller, fields.expires_seconds)
        if key is None:
            return JSONResponse(file_object(await upload.keep(live.engine.files, file)))
        parameters = [filename, sorted(sent.items()), file.size_bytes, file.sha256]
        digest = digest_of("POST /v1/files", json.dumps(parameters).encode())
        return await _keep_once(live, key, upload, file, digest)


def _fields(sent: dict[str, str]) -> UploadFields:
    try:
        return UploadFields.model_validate(sent)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


async def _keep_once(live: Live, key: str, upload: Upload, file: StoredFile, digest: str) -> Response:
    """Keep an upload unless it is a repetition. The file and its answer are committed together, or not at all."""
    requests = live.engine.idempotency
    found = await in_thread(requests.begin, owner_of(file.tenant, file.key_id), key, digest)
    if isinstance(found, KeptResponse):
        return replayed(found)
    response = JSONResponse(file_object(file))
    async with holding(requests, found):
        await upload.keep(live.engine.files, file, (found, kept(response)))
    return response


@router.get("/v1/files", response_model=FileList)
async def list_files(
    live: LiveDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=MOST_FILES)] = MOST_FILES,
    after: Annotated[str | None, Query(max_length=64, description="the `last_id` of the page before")] = None,
    order: Order = "desc",
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> dict[str, Any]:
    """List files by the time of their upload."""
    found, has_more = await in_thread(
        live.engine.files.page, caller, limit=limit, after=after, order=order, purpose=purpose
    )
    return page([file_object(file) for file in found], has_more)


@router.get("/v1/files/{file_id}", response_model=FileObject)
async def retrieve_file(file_id: FileIdPath, live: LiveDep, caller: CallerDep) -> dict[str, Any]:
    """One file."""
    return file_object(await in_thread(live.engine.files.get, file_id, caller))


@router.get(
    "/v1/files/{file_id}/content",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def retrieve_file_content(file_id: FileIdPath, live: LiveDep, caller: CallerDep) -> StreamingResponse:
    """The bytes of a file, to be saved: a browser must not open what a stranger uploaded as a page of this server."""
    file = await in_thread(live.engine.files.get, file_id, caller)
    opened = await in_thread(_open, path_of_upload(live.engine.settings.data_dir, file.id))
    return StreamingResponse(_pieces(opened), media_type="application/octet-stream", headers=download_headers(file))


@router.delete("/v1/files/{file_id}", response_model=FileDeleted)
async def delete_file(file_id: FileIdPath, live: LiveDep, caller: CallerDep) -> FileDeleted:
    """Delete a file for good, and take it out of every vector store."""
    file = await in_thread(live.engine.files.get, file_id, caller)
    is_bound = caller.store_ids is not None or caller.groups is not None
    if is_bound and file.key_id != caller.key_id:
        raise HTTPException(
            403, "Another key uploaded this file, and it may be in stores that this key is not for. Take it out of "
            "yours instead: DELETE /v1/vector_stores/STORE/files/FILE.",
        )  # fmt: skip
    await delete_upload(live.engine, file.id, live.worker.wake)
    return FileDeleted(id=file.id)


def download_headers(file: StoredFile) -> dict[str, str]:
    """What makes a browser save a file and never run it."""
    return {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
        "content-length": str(file.size_bytes),
        "content-security-policy": "default-src 'none'; sandbox",
        "x-content-type-options": "nosniff",
        "cache-control": "private, no-store",
    }


def _open(path: FilePath) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise StorageError(
            f"The bytes of {path.name} cannot be read ({error.strerror}). Look at QUOTH_DATA_DIR, or upload it anew."
        ) from error


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while piece := await in_thread(file.read, PIECE_BYTES):
            yield piece
