"""Hold a lease while working: one writer for each store, in this data directory and on every other host.

Between processes of one data directory a file lock decides, which the kernel takes from whoever dies, so that work
goes on at once after a kill. Between hosts that share a ledger the lease's time decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from rag.concurrency import in_thread
from rag.errors import StorageUnavailableError
from rag.ledger.leases import LEASE_SECONDS, Lease, Leases

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
PLACE_FILE = "place"


def store_lease(store_id: str) -> str:
    """The name of the lease under which a store is written to."""
    return f"store:{store_id}"


@asynccontextmanager
async def hold(
    leases: Leases,
    data_dir: Path,
    name: str,
    *,
    on_wait: Callable[[], None] = lambda: None,
    take_over: bool = False,
    wait: bool = True,
) -> AsyncIterator[Lease | None]:
    """Hold a lease, renewed in the background, for the time of the context.

    Args:
        leases: of the ledger.
        data_dir: whose file lock goes with it.
        name: of the lease.
        on_wait: called once if another process has to be waited for.
        take_over: make the present holder fail at its next step instead of waiting for its end.
        wait: whether to wait at all; without, the context gets None while another process holds it.
    """
    place = await in_thread(_place, data_dir)
    holder = f"{socket.gethostname()}:{os.getpid()}"
    if take_over:
        await in_thread(leases.acquire, name, holder, place, take_over=True)
    patience = _Patience(on_wait)
    with (data_dir / f"{name.replace(':', '-')}.lock").open("w") as file:
        while not _try_lock(file):
            if not wait:
                yield None
                return
            await patience.pause()
        while (lease := await in_thread(leases.acquire, name, holder, place, take_over=take_over)) is None:
            if not wait:
                yield None
                return
            await patience.pause()
        renewing = asyncio.create_task(_keep(leases, lease))
        try:
            yield lease
        finally:
            renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewing
            await in_thread(leases.release, lease)


class _Patience:
    """Waits a little, and says so the first time."""

    def __init__(self, on_wait: Callable[[], None]) -> None:
        self._on_wait: Callable[[], None] | None = on_wait

    async def pause(self) -> None:
        if self._on_wait:
            self._on_wait()
            self._on_wait = None
        await asyncio.sleep(POLL_SECONDS)


async def _keep(leases: Leases, lease: Lease) -> None:
    """Renew a lease in time; whoever has lost it finds out at its next transaction."""
    while True:
        await asyncio.sleep(LEASE_SECONDS / 4)
        try:
            await in_thread(leases.renew, lease)
        except StorageUnavailableError as error:
            logger.warning("the lease could not be renewed, which is tried again: %s", error)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _place(data_dir: Path) -> str:
    """The name of a data directory, drawn when it is first asked for: paths are not unique among hosts."""
    path = data_dir / PLACE_FILE
    draft = path.with_name(f".{PLACE_FILE}.{uuid.uuid4().hex}")
    if not path.exists():
        draft.write_text(uuid.uuid4().hex)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # the first to come names it
        draft.unlink()
    return path.read_text()
