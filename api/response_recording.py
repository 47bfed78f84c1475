"""A response is kept in the ledger while it is written, however it ends."""

from __future__ import annotations

import asyncio
import logging
import time

from api.response_stream import Made, ResponseDraft
from rag.concurrency import in_thread
from rag.errors import StorageError
from rag.ledger.responses import Responses, StoredResponse
from rag.recording import SAVE_SECONDS

logger = logging.getLogger(__name__)


class ResponseRecorder:
    """Writes one response down. `close` it in any case; what did not come to an end by then has failed."""

    def __init__(self, responses: Responses, row: StoredResponse) -> None:
        """Args: `row` is the response before its first word."""
        self._responses = responses
        self._row = row
        self._beginning: asyncio.Future[None] | None = None
        self._is_ended = False
        self._saved_at = time.monotonic()

    async def begin(self) -> None:
        """Keep the response before its first word. Raises as `Responses.begin`, and StorageError."""
        self._beginning = asyncio.ensure_future(in_thread(self._responses.begin, self._row))
        try:
            # Who leaves cancels this task, not the thread that writes; `close` waits for it, and ends the row.
            await asyncio.shield(self._beginning)
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._is_ended = True
            raise

    async def keep(self, draft: ResponseDraft, made: Made) -> Made:
        """Keep what was said from time to time, and the end before it is told: who goes on from it would miss it."""
        if draft.is_ended:
            try:
                await self._end(draft)
            except StorageError as error:
                if draft.failure is None:
                    return draft.fail(error)
                logger.warning("a response that broke off could not be kept: %s", error)
        elif time.monotonic() - self._saved_at >= SAVE_SECONDS:
            await self._save(draft)
        return made

    async def close(self, draft: ResponseDraft) -> None:
        """Keep what was said of a response that came to no end: its reader has left."""
        if self._is_ended or self._beginning is None:
            return
        draft.interrupt()
        try:
            await self._end(draft)
        except StorageError as error:
            logger.warning("a response that broke off could not be kept: %s", error)

    async def _save(self, draft: ResponseDraft) -> None:
        try:
            await in_thread(self._responses.save, self._row, draft.body(), draft.text)
        except StorageError as error:
            logger.warning("a response could not be kept so far: %s", error)
        self._saved_at = time.monotonic()

    async def _end(self, draft: ResponseDraft) -> None:
        self._is_ended = True
        # The ledger must hear of the end also where the reader leaves while it is told.
        await asyncio.shield(asyncio.ensure_future(self._finish(draft)))

    async def _finish(self, draft: ResponseDraft) -> None:
        if self._beginning is not None:
            await self._beginning
        await in_thread(self._responses.finish, self._row, draft.status, draft.body(), draft.text)
