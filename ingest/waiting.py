"""Documents between reading and embedding: enough to fill batches, never so many that they fill the memory."""

from __future__ import annotations

import asyncio

from rag.ledger.documents import Indexed


class Waiting:
    """Documents that wait to be embedded, of so many characters together and no more."""

    def __init__(self, characters: int) -> None:
        self._limit = characters
        self._characters = 0
        self._blocked = 0
        self._documents: list[Indexed] = []
        self._ended = False
        self._changed = asyncio.Condition()

    async def put(self, document: Indexed) -> None:
        """Add a document, once there is room; one that is longer than all the room waits for an empty one."""
        async with self._changed:
            self._blocked += 1
            self._changed.notify_all()
            await self._changed.wait_for(
                lambda: not self._documents or self._characters + len(document.text) <= self._limit
            )
            self._blocked -= 1
            self._documents.append(document)
            self._characters += len(document.text)
            self._changed.notify_all()

    async def end(self) -> None:
        """Say that no more will come."""
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def take(self, chunks: int) -> list[Indexed]:
        """Documents with so many chunks together, or all there are at the end or when no more fit; none at the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._ended or self._is_full(chunks))
            taken: list[Indexed] = []
            count = 0
            while self._documents and count < chunks:
                taken.append(self._documents.pop(0))
                count += len(taken[-1].chunks)
                self._characters -= len(taken[-1].text)
            self._changed.notify_all()
            return taken

    def _is_full(self, chunks: int) -> bool:
        counted = sum(len(document.chunks) for document in self._documents)
        return counted >= chunks or bool(self._documents and self._blocked)
