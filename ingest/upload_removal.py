"""Take an upload out of the world: out of every store that holds it, out of the ledger, off the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ingest.attachments import Attachments
from ingest.uploads import remove_bytes
from rag.assembly import Engine
from rag.concurrency import in_thread
from rag.errors import StorageUnavailableError, StoreNotFoundError

# So often may somebody put the file into a store again while it is taken out of them.
ATTEMPTS: Final = 5


async def delete_upload(engine: Engine, file_id: str, wake: Callable[[], None]) -> None:
    """Delete a file for good, also one that is being ingested.

    The ledger forgets it before the disk does: what a kill leaves of its bytes is swept at the next start.

    Args:
        wake: called when a store has to be changed, which a job does.

    Raises:
        StorageUnavailableError: it is put into stores as fast as it is taken out, or the disk keeps its bytes.
    """
    attachments = Attachments(engine, wake)
    for _ in range(ATTEMPTS):
        for name in await in_thread(engine.files.stores_of, file_id):
            try:
                store = await in_thread(engine.stores.get, name)
            except StoreNotFoundError:
                continue  # deleted at this moment, and its files with it
            await attachments.detach(store, file_id)
        if await in_thread(engine.files.delete, file_id):
            await in_thread(remove_bytes, engine.settings.data_dir, file_id)
            return
    raise StorageUnavailableError(
        "The file was put into a store while it was taken out of all of them. Delete it again when nobody does so."
    )
