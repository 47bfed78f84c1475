"""One ingest at a time for each store of a data directory."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

POLL_SECONDS = 0.2


@asynccontextmanager
async def ingest_lock(data_dir: Path, store_id: str, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the store's ingest lock, waiting while another process has it.

    The kernel lets go of it when its holder dies, however it dies.

    Args:
        on_wait: called once if another ingest has to be waited for.
    """
    path = data_dir / f"ingest-{store_id}.lock"
    with path.open("w") as handle:
        waited = False
        while not _try_lock(handle.fileno()):
            if not waited:
                on_wait()
                waited = True
            await asyncio.sleep(POLL_SECONDS)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
