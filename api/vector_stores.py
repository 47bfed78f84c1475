"""What the routes under /v1/vector_stores share: the store that a path names, and who changes its files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Path

from api.dependencies import CallerDep, Live, LiveDep
from api.schemas.paging import MAX_ID_CHARACTERS
from api.schemas.store_files import StoreFileRequest, chunking_of
from ingest.attachments import Attachment, Attachments
from rag.access import Caller
from rag.concurrency import in_thread
from rag.errors import InvalidInputError, StoreExpiredError
from rag.ledger.readable_files import ReadableFiles
from rag.ledger.stores import Store

# OpenAI's clients wait for as long before they ask again; without it, that for JavaScript waits five seconds.
POLL_AFTER = {"openai-poll-after-ms": "500"}


async def _store(
    store_id: Annotated[str, Path(max_length=MAX_ID_CHARACTERS)], live: LiveDep, caller: CallerDep
) -> Store:
    return await in_thread(live.engine.stores.find, store_id, caller)


async def _open_store(store: Annotated[Store, Depends(_store)]) -> Store:
    if store.expires_days is not None and store.has_expired(time.time()):
        raise StoreExpiredError(store.public_id, store.expires_days)
    return store


async def _readable(live: LiveDep, caller: CallerDep, store: Annotated[Store, Depends(_store)]) -> ReadableFiles:
    return ReadableFiles(live.engine.store_files, store, caller)


StoreDep = Annotated[Store, Depends(_store)]
OpenStoreDep = Annotated[Store, Depends(_open_store)]  # one that has not expired
ReadableFilesDep = Annotated[ReadableFiles, Depends(_readable)]
FileIdPath = Annotated[str, Path(max_length=MAX_ID_CHARACTERS)]


def attachments_of(live: Live) -> Attachments:
    """Whoever changes what stores hold; its work begins at once."""
    return Attachments(live.engine, live.worker.wake)


async def to_attach(live: Live, caller: Caller, wanted: Sequence[StoreFileRequest]) -> list[Attachment]:
    """What is to be attached, when the caller may see the files and belongs to the groups that it names.

    Raises:
        NotFoundError: a file is not there, or not for this caller.
        InvalidInputError: the caller does not belong to a group.
    """
    return await in_thread(lambda: [_attachment(live, caller, each) for each in wanted])


def _attachment(live: Live, caller: Caller, wanted: StoreFileRequest) -> Attachment:
    groups = tuple(wanted.groups or ())
    if caller.groups is not None and not caller.groups.issuperset(groups):
        known = ", ".join(sorted(caller.groups)) or "none"
        raise InvalidInputError(f"groups may name those of your key only ({known}).")
    file = live.engine.files.get(wanted.file_id, caller)
    return Attachment(file, wanted.attributes or {}, groups, chunking_of(wanted.chunking_strategy))
