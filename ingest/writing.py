"""The write order: upsert the new generation, flush, count, switch, delete the old one.

A process that is killed between any two of these steps leaves rows that say what is left to do; `sweep` does it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from rag.concurrency import in_thread
from rag.documents import Point
from rag.errors import StorageError
from rag.filters import And, Eq, In
from rag.ledger.documents import Documents, Indexed
from rag.ledger.generations import GenerationKey
from rag.protocols import ChunkStore

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
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        """Args: `checkpoint` is called with the name of each step once it is done; the crash tests kill there."""
        self._store_id = store_id
        self._documents = documents
        self._vectors = vectors
        self._checkpoint = checkpoint
        self.has_deleted = False

    async def write(self, batch: Sequence[Indexed], points: Sequence[Point], job_id: str | None = None) -> None:
        """Index documents: on return queries see them, and their older generations are gone.

        Args:
            batch: at least one document, each once.
            points: of all their chunks.
            job_id: of the job that notes what became of them.

        Raises:
            LeaseLostError: another process writes to this store; nothing more of the batch was made visible.
            StorageError: the vector store failed, or holds another number of points than it was given.
        """
        keys = [(item.record.id, item.record.generation) for item in batch]
        await in_thread(self._documents.begin, self._store_id, keys)
        self._checkpoint("begun")
        for start in range(0, len(points), SLICE):
            await self._vectors.upsert(self._store_id, points[start : start + SLICE])
            self._checkpoint("upserted")
        await self._vectors.flush()
        self._checkpoint("flushed")
        await self._require_points(batch, len(points))
        self._checkpoint("counted")
        retired = await in_thread(self._documents.switch, batch, job_id)
        self._checkpoint("switched")
        await self._delete_points(retired)

    async def retire(self, document_ids: Sequence[str]) -> None:
        """Remove documents: out of sight at once, then out of the vector store."""
        if document_ids:
            retired = await in_thread(self._documents.retire, self._store_id, document_ids)
            self._checkpoint("retired")
            await self._delete_points(retired)

    async def sweep(self) -> None:
        """Finish what a killed ingest left: delete points that no query may see. For the lease's holder only."""
        await self._delete_points(await in_thread(self._documents.leftovers, self._store_id))

    async def _delete_points(self, keys: Sequence[GenerationKey]) -> None:
        if not keys:
            return
        self.has_deleted = True
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

    async def _require_points(self, batch: Sequence[Indexed], expected: int) -> None:
        generations = tuple(item.record.generation for item in batch)
        mine = And((In("document_id", tuple(item.record.id for item in batch)), In("generation", generations)))
        found = await self._vectors.count(self._store_id, mine)
        if found != expected:
            raise StorageError(
                f"The vector store holds {found} points of {len(batch)} documents that have {expected} chunks, the "
                f"first of them {batch[0].record.uri}; they were not switched. Run the ingest again."
            )
