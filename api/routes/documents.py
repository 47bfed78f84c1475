"""GET /v1/documents: what the stores hold, the text that citations quote, and the original files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse

from api.dependencies import CallerDep, LiveDep
from api.openapi import shows
from api.schemas.conversations import page
from api.schemas.documents import DocumentList, DocumentText, document_object, span_object, text_fields
from ingest.originals import Original, open_original
from rag.concurrency import in_thread
from rag.errors import InvalidInputError, NotFoundError
from rag.ledger.library import MAX_TEXT_CHARACTERS, Held, Library

router = APIRouter(tags=["Documents"])

TEXT_CHARACTERS = 20_000  # of a page, unless another number is asked for
AROUND_CHARACTERS = 500
PIECE_BYTES = 1 << 16

# A stranger's file must not run in the reader's browser, whatever it holds.
ORIGINAL_HEADERS = {
    "content-security-policy": "sandbox; default-src 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cache-control": "private, no-store",
}

NoNul = r"^[^\x00]*$"
IdPath = Annotated[str, Path(max_length=64, description="as citations and lists carry it")]
StoreQuery = Annotated[
    str | None, Query(max_length=256, pattern=NoNul, description="name or id; without it the default store")
]
PrefixQuery = Annotated[str, Query(max_length=2000, pattern=NoNul)]
OffsetQuery = Annotated[int | None, Query(ge=0, le=1_000_000_000)]


@router.get("/v1/documents", **shows(DocumentList))
async def list_documents(
    live: LiveDep,
    caller: CallerDep,
    store: StoreQuery = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(max_length=64)] = None,
    title: PrefixQuery = "",
    uri: PrefixQuery = "",
) -> dict[str, Any]:
    """A store's documents in the order of their URIs; `title` and `uri` are what these begin with."""
    engine = live.engine
    owner = await in_thread(engine.stores.resolve, store or engine.settings.store, caller)
    found, has_more = await in_thread(
        engine.library.page, owner, caller, limit=limit, after=after, title=title, uri=uri
    )
    return page([document_object(record, owner) for record in found], has_more)


@router.get("/v1/documents/{document_id}", **shows(DocumentText))
async def retrieve_document(
    document_id: IdPath,
    live: LiveDep,
    caller: CallerDep,
    start: OffsetQuery = None,
    end: OffsetQuery = None,
    around: Annotated[int, Query(ge=0, le=10_000, description="characters on both sides of a span")] = (
        AROUND_CHARACTERS
    ),
    limit: Annotated[int, Query(ge=1, le=MAX_TEXT_CHARACTERS, description="characters of a page")] = TEXT_CHARACTERS,
    generation: Annotated[str | None, Query(max_length=64, description="as a citation carries it")] = None,
) -> dict[str, Any]:
    """A document's text: the span `start` to `end` of a citation with what stands around it, or a page from `start`.

    With `generation`, a document that has been read anew since is not there, so that no other words are shown for
    those that were cited.
    """
    library = live.engine.library
    held = await in_thread(library.get, document_id, caller)
    _require_generation(held, generation)
    if end is None:
        begin = start or 0
        passage = await in_thread(library.text, held.record, begin, begin + limit)
        return {**document_object(held.record, held.store), **text_fields(passage), "span": None}
    return await in_thread(_around, library, held, (start or 0, end), around)


@router.get(
    "/v1/documents/{document_id}/original",
    response_class=StreamingResponse,
    responses={200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def download_original(document_id: IdPath, live: LiveDep, caller: CallerDep) -> StreamingResponse:
    """The file that a document was read from, while its bytes are still those that were indexed."""
    held = await in_thread(live.engine.library.get, document_id, caller)
    async with live.originals:
        original = await in_thread(open_original, live.engine, held.record)
    headers = {
        **ORIGINAL_HEADERS,
        "content-disposition": _attachment(original.filename),
        "content-length": str(original.size_bytes),
    }
    return StreamingResponse(_pieces(original), media_type=held.record.media_type, headers=headers)


def _around(library: Library, held: Held, span: tuple[int, int], around: int) -> dict[str, Any]:
    start, end = span
    if not start < end <= start + MAX_TEXT_CHARACTERS - 2 * around:
        raise InvalidInputError(
            f"The span {start} to {end} must hold at least one character, and with what stands around it "
            f"{MAX_TEXT_CHARACTERS} at most."
        )
    passage = library.text(held.record, max(0, start - around), end + around)
    if end > passage.char_count:
        raise InvalidInputError(f"The span {start} to {end} ends behind the text, which has {passage.char_count}.")
    place = library.place_of(held.record, start, end)
    shown = {**text_fields(passage), "next_start": None}
    return {**document_object(held.record, held.store), **shown, "span": span_object(passage, start, end, place)}


def _require_generation(held: Held, generation: str | None) -> None:
    if generation is not None and generation != held.record.generation:
        raise NotFoundError(
            f"The document {held.record.id!r} was read anew since, so offsets of {generation!r} do not hold any more. "
            "Ask without `generation` for its text as it is now."
        )


async def _pieces(original: Original) -> AsyncIterator[bytes]:
    try:
        while piece := await in_thread(original.file.read, PIECE_BYTES):
            yield piece
    finally:
        original.file.close()


def _attachment(filename: str) -> str:
    """A Content-Disposition that no file's name can break out of."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in filename) or "original"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='', errors='replace')}"
