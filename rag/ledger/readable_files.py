"""The files of a store, as far as a caller may read them: what is for other groups looks as if it were not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from rag.access import Caller
from rag.errors import NotFoundError
from rag.ledger.store_file_records import STATUSES, FileBatch, Order, Status, StoreFile
from rag.ledger.store_files import StoreFiles
from rag.ledger.stores import Store

SCANNED: Final = 500  # rows that are looked at for a page, at a time


class ReadableFiles:
    """The attached uploads of one store for one caller."""

    def __init__(self, files: StoreFiles, store: Store, caller: Caller) -> None:
        self._files = files
        self._store = store
        self._groups = caller.groups

    def get(self, file_id: str) -> StoreFile:
        """One of the files. Raises NotFoundError when it is not there, or not for this caller."""
        found = self._files.get(self._store.id, file_id)
        if not self._may_read(found):
            raise NotFoundError(f"There is no file {file_id[:64]!r} in this vector store.")
        return found

    def get_batch(self, batch_id: str) -> FileBatch:
        """A batch. Raises NotFoundError when it is not there, or none of its files is for this caller."""
        found = self._files.get_batch(self._store.id, batch_id)
        if self._groups is not None and not sum(self.counts(batch_id).values()):
            raise NotFoundError(f"There is no file batch {batch_id[:64]!r} in this vector store.")
        return found

    def page(
        self,
        *,
        limit: int,
        after: str | None = None,
        before: str | None = None,
        order: Order = "desc",
        status: Status | None = None,
        batch_id: str | None = None,
    ) -> tuple[list[StoreFile], bool]:
        """As `StoreFiles.page`."""
        for edge in (after, before):
            if edge is not None:
                self.get(edge)
        is_backwards = before is not None and after is None
        found: list[StoreFile] = []
        scanned = limit if self._groups is None else SCANNED
        while True:
            rows, has_more = self._files.page(
                self._store.id, limit=scanned, after=after, before=before, order=order, status=status,
                batch_id=batch_id,
            )  # fmt: skip
            readable = [row for row in rows if self._may_read(row)]
            found = [*readable, *found] if is_backwards else [*found, *readable]
            if len(found) > limit or not has_more or self._groups is None:
                break
            if is_backwards:
                before = rows[0].file_id
            else:
                after = rows[-1].file_id
        shown = found[-limit:] if is_backwards else found[:limit]
        return shown, has_more if self._groups is None else len(found) > limit

    def counts(self, batch_id: str | None = None) -> dict[Status, int]:
        """How many files there are of each status."""
        if self._groups is None:
            return self._files.counts(self._store.id, batch_id)
        found = Counter(file.status for file in self._all() if batch_id is None or file.batch_id == batch_id)
        return {status: found[status] for status in STATUSES}

    def usage(self) -> int:
        """Bytes of their text and vectors."""
        if self._groups is None:
            return self._files.usage(self._store.id)
        return sum(file.usage_bytes for file in self._all())

    def _all(self) -> Iterator[StoreFile]:
        return (each.row for each in self._files.all(self._store.id) if self._may_read(each.row))

    def _may_read(self, file: StoreFile) -> bool:
        return self._groups is None or not file.groups or bool(self._groups.intersection(file.groups))
