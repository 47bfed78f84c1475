"""The write order: upsert the new generation, flush, count, switch, delete the old one.

A process that is killed between any two of these steps leaves rows that say what is left to do; `sweep` does it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from rag.concurrency import in_thread
from rag.documents import Point, SparseVector
from rag.errors import StorageError
from rag.filters import And, Eq, In
from rag.ledger.documents import Documents, GenerationKey, Indexed
from rag.protocols import ChunkStore, Embedder, SparseEncoder

SLICE = 256

Checkpoint = Callable[[str], None]


def no_checkpoint(name: str) -> None:
    """The default: nobody listens."""


class Writer:
    """Writes documents into one store."""

    def __init__(
        self,
        store_id: str,
        documents: Documents,
        vectors: ChunkStore,
        embedder: Embedder,
        sparse: SparseEncoder,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        """Args: `checkpoint` is called with the name of each step once it is done; the crash tests kill there."""
        self._store_id = store_id
        self._documents = documents
        self._vectors = vectors
        self._embedder = embedder
        self._sparse = sparse
        self._checkpoint = checkpoint

    async def write(self, batch: Sequence[Indexed]) -> None:
        """Index documents: on return queries see them, and their older generations are gone.

        Raises:
            UpstreamError: the embedder failed; nothing of the batch is visible.
            StorageError: the vector store failed, or holds another number of points than it was given.
        """
        keys = [(item.record.id, item.record.generation) for item in batch]
        await in_thread(self._documents.begin, self._store_id, keys)
        self._checkpoint("begun")
        chunks = [chunk for item in batch for chunk in item.chunks]
        for start in range(0, len(chunks), SLICE):
            some = chunks[start : start + SLICE]
            texts = [chunk.embedded_text for chunk in some]
            dense = await self._embedder.embed_passages(texts)
            self._checkpoint("embedded")
            sparse = await in_thread(self._encode, texts)
            await self._vectors.upsert(
                self._store_id,
                [
                    Point(chunk.id, chunk.document_id, chunk.generation, vector, terms)
                    for chunk, vector, terms in zip(some, dense, sparse, strict=True)
                ],
            )
            self._checkpoint("upserted")
        await self._vectors.flush()
        self._checkpoint("flushed")
        for item in batch:
            await self._require_points(item)
        self._checkpoint("counted")
        retired = await in_thread(self._documents.switch, batch)
        self._checkpoint("switched")
        await self._delete_points(retired)

    async def retire(self, document_ids: Sequence[str]) -> None:
        """Remove documents: out of sight at once, then out of the vector store."""
        retired = await in_thread(self._documents.retire, self._store_id, document_ids)
        self._checkpoint("retired")
        await self._delete_points(retired)

    async def sweep(self) -> None:
        """Finish what a killed ingest left: delete points that no query may see. Only the lock's holder may call it."""
        await self._delete_points(await in_thread(self._documents.leftovers, self._store_id))

    def _encode(self, texts: Sequence[str]) -> list[SparseVector]:
        return [self._sparse.encode_passage(text) for text in texts]

    async def _delete_points(self, keys: Sequence[GenerationKey]) -> None:
        if not keys:
            return
        by_generation: defaultdict[str, list[str]] = defaultdict(list)
        for document, generation in keys:
            by_generation[generation].append(document)
        for generation, documents in by_generation.items():
            await self._vectors.delete(
                self._store_id, And((Eq("generation", generation), In("document_id", tuple(documents))))
            )
        await self._vectors.flush()
        self._checkpoint("deleted")
        await in_thread(self._documents.forget, keys)
        self._checkpoint("forgotten")

    async def _require_points(self, item: Indexed) -> None:
        record = item.record
        mine = And((Eq("document_id", record.id), Eq("generation", record.generation)))
        found = await self._vectors.count(self._store_id, mine)
        if found != len(item.chunks):
            raise StorageError(
                f"The vector store holds {found} points of {record.uri}, not {len(item.chunks)}; the document was not "
                "switched. Run the ingest again."
            )
