"""Uploads into stores and out of them: each change is a durable job, the same as that of a folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingest.strategy import in_force
from rag.assembly import Engine
from rag.attributes import check_attributes, check_groups
from rag.concurrency import in_thread
from rag.documents import AttributeValue
from rag.ledger.files import StoredFile
from rag.ledger.store_file_records import FileBatch, Status, StoreFile, Wanted
from rag.ledger.stores import Store, require_fingerprint

PROGRESS_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Attachment:
    """An upload, and how it is to be indexed.

    Attributes:
        attributes: for filters; at most 16, see rag.attributes.
        groups: that may read it; none for everyone who may read the store.
        chunking: OpenAI's static strategy, `max_chunk_size_tokens` and `chunk_overlap_tokens`; {} for our own.
    """

    file: StoredFile
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    groups: Sequence[str] = ()
    chunking: Mapping[str, int] = field(default_factory=dict)


class Attachments:
    """The uploads of an engine's stores. What is asked for stands in the ledger on return; a worker does it."""

    def __init__(self, engine: Engine, wake: Callable[[], None] = lambda: None) -> None:
        """Args: `wake` is called when there is work to do."""
        self._engine = engine
        self._files = engine.store_files
        self._wake = wake

    async def attach(
        self, store: Store, items: Sequence[Attachment], *, with_batch: bool = False
    ) -> tuple[list[StoreFile], str | None]:
        """Have a store hold uploads. One that it holds in the same way already is left alone.

        Args:
            items: each file once; of one that comes twice the last counts.
            with_batch: whether they are a batch, done by one job.

        Returns:
            The rows, and the batch's id.

        Raises:
            InvalidInputError: attributes, groups or a chunking strategy cannot be stored.
            FingerprintMismatchError: the store was embedded by another embedder.
            NotFoundError: the store or a file has been deleted.
        """
        require_fingerprint(store, self._engine.embedder.fingerprint)
        wanted = {
            item.file.id: Wanted(
                item.file.id, check_attributes(item.attributes), check_groups(item.groups),
                in_force(self._engine, item.chunking),
            )
            for item in items
        }  # fmt: skip
        rows, batch = await in_thread(self._files.attach, store.id, list(wanted.values()), with_batch=with_batch)
        self._wake()
        return rows, batch.id if batch else None

    async def detach(self, store: Store, file_id: str) -> bool:
        """Take an upload out of a store; False where it was not in it.

        It is out of sight on return, and its text gone from the ledger; the job that was submitted deletes its points.
        """
        count = await in_thread(self._files.detach, store.id, [file_id])
        self._wake()
        return bool(count)

    async def update(self, store: Store, file_id: str, attributes: Mapping[str, Any]) -> StoreFile:
        """Give an upload other attributes. Until the job is done it is found under those that it had.

        Raises:
            InvalidInputError: they cannot be stored.
            NotFoundError: the file is not in the store.
        """
        row = await in_thread(self._files.change, store.id, file_id, check_attributes(attributes))
        self._wake()
        return row

    async def cancel(self, store: Store, batch_id: str) -> FileBatch:
        """Read no more of a batch; what of it is completed stays. Raises NotFoundError."""
        batch = await in_thread(self._files.cancel_batch, store.id, batch_id)
        self._wake()
        return batch

    async def progress(self, store: Store, batch_id: str) -> AsyncIterator[dict[Status, int]]:
        """The counts of a batch, whenever they change, until none of its files is in progress.

        Raises:
            NotFoundError: there is no such batch, or its store has been deleted meanwhile.
        """
        last: dict[Status, int] | None = None
        while True:
            await in_thread(self._files.get_batch, store.id, batch_id)
            counts = await in_thread(self._files.counts, store.id, batch_id)
            if counts != last:
                yield counts
                last = counts
            if not counts["in_progress"]:
                return
            await asyncio.sleep(PROGRESS_SECONDS)
