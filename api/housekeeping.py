"""What goes by itself: files and vector stores whose time is over, and answers to repeated requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from api.dependencies import Live
from ingest.upload_removal import delete_upload
from ingest.uploads import sweep_leftovers
from rag.assembly import drop_store
from rag.concurrency import in_thread
from rag.errors import QuothError

logger = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 60.0


async def sweep(live: Live, now: float) -> None:
    """Delete for good what has expired by `now`.

    One file or store that cannot be deleted is logged and tried again by the next sweep; the others go.
    """
    engine = live.engine
    for file in await in_thread(engine.files.expired, now):
        try:
            await delete_upload(engine, file.id, live.worker.wake)
        except QuothError as error:
            logger.warning("an expired file is still there: %s", error, extra={"file": file.id})
    for store in await in_thread(engine.stores.expired, now):
        try:
            await drop_store(engine, store)
        except QuothError as error:
            logger.warning("an expired store is still there: %s", error, extra={"store": store.name})
    await in_thread(engine.idempotency.sweep, now)


@asynccontextmanager
async def kept_house(live: Live) -> AsyncIterator[None]:
    """Sweep what a killed process left, then what expires, until the context ends."""
    engine = live.engine
    await in_thread(sweep_leftovers, engine.settings.data_dir, engine.files)
    sweeping = asyncio.create_task(_keep_sweeping(live))
    try:
        yield
    finally:
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping


async def _keep_sweeping(live: Live) -> None:
    while True:
        try:
            await sweep(live, time.time())
        except QuothError as error:
            logger.warning("housekeeping failed, which is tried again: %s", error)
        await asyncio.sleep(SWEEP_SECONDS)
