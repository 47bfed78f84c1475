"""A store's documents, put together again from its chunks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from rag.assembly import Engine
from rag.concurrency import in_thread
from rag.documents import Block, Candidate, Chunk, Scores, SearchHit

PAGE: Final = 10_000


@dataclass(frozen=True)
class StoredDocument:
    """One visible document.

    Attributes:
        text: canonical, as far as chunks hold it; what stands between two chunks is white space, and is spaces here.
        blocks: in order.
        chunks: in order.
    """

    uri: str
    title: str
    generation: str
    text: str
    blocks: tuple[Block, ...]
    chunks: tuple[Chunk, ...]


async def store_outline(engine: Engine, store: str) -> dict[str, str]:
    """URI -> generation of each document of a store. Raises StoreNotFoundError."""
    owner = await in_thread(engine.stores.get, store)
    return await in_thread(lambda: {record.uri: record.generation for record in engine.documents.all(owner.id)})


async def read_documents(engine: Engine, store: str, uris: Collection[str] | None = None) -> list[StoredDocument]:
    """Documents of a store by URI; None reads all.

    Raises:
        StoreNotFoundError: there is no such store.
        StorageError: the vector store or the ledger failed.
    """
    owner = await in_thread(engine.stores.get, store)
    wanted = await in_thread(
        lambda: {record.id for record in engine.documents.all(owner.id) if uris is None or record.uri in uris}
    )
    found: defaultdict[str, list[SearchHit]] = defaultdict(list)
    after: str | None = None
    while page := await engine.vectors.identities(owner.id, after, PAGE):
        after = page[-1][0]
        candidates = [Candidate(*identity, Scores()) for identity in page if identity[1] in wanted]
        for hit in await in_thread(engine.documents.join, [owner.id], candidates):
            found[hit.uri].append(hit)
    return [_assembled(found[uri]) for uri in sorted(found)]


def _assembled(hits: Sequence[SearchHit]) -> StoredDocument:
    first = hits[0]
    chunks = tuple(sorted((hit.chunk for hit in hits), key=lambda chunk: chunk.ordinal))
    text = ""
    for chunk in chunks:
        text = (
            text.ljust(chunk.char_start)[: max(len(text), chunk.char_start)]
            + chunk.text[max(0, len(text) - chunk.char_start) :]
        )
    blocks = {(block.start, block.end): block for chunk in chunks for block in chunk.blocks}
    ordered = tuple(blocks[place] for place in sorted(blocks))
    return StoredDocument(first.uri, first.title, first.chunk.generation, text, ordered, chunks)
