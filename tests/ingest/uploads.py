"""Uploads for tests: stored as the API stores them, attached to a store, and read by a worker that ends."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from ingest.attachments import Attachment, Attachments
from ingest.uploads import store_upload
from ingest.working import work_off
from rag.assembly import Engine
from rag.documents import SearchHit
from rag.filters import Filter
from rag.ledger.files import StoredFile
from rag.ledger.store_file_records import StoreFile
from rag.ledger.stores import Store


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


def upload(engine: Engine, name: str, text: str | bytes) -> StoredFile:
    data = text.encode() if isinstance(text, str) else text
    return asyncio.run(store_upload(engine, _pieces(data), filename=name))


def make_store(engine: Engine, name: str = "default") -> Store:
    return asyncio.run(engine.open_store(name))


def attach(
    engine: Engine, store: Store, *files: StoredFile, batch: bool = False, **how: Mapping[str, object] | Sequence[str]
) -> tuple[list[StoreFile], str | None]:
    items = [Attachment(file, **how) for file in files]  # type: ignore[arg-type]
    return asyncio.run(Attachments(engine).attach(store, items, with_batch=batch))


def work(engine: Engine) -> int:
    return asyncio.run(work_off(engine))


def search(
    engine: Engine, question: str, where: Filter | None = None, groups: frozenset[str] | None = None, k: int = 10
) -> list[SearchHit]:
    found = asyncio.run(engine.retriever.search("default", question, k=k, where=where, groups=groups))
    return list(found.hits)
