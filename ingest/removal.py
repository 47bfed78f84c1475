"""Take documents out of a store, whether their files are still there or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ingest.writing import Writer
from rag.assembly import Engine
from rag.attributes import UPLOADS
from rag.concurrency import in_thread
from rag.errors import NotFoundError
from rag.leasing import hold, store_lease
from rag.ledger.uris import is_below

PAGE_DOCUMENTS = 500


async def remove(engine: Engine, store: str, places: Sequence[str]) -> int:
    """Remove documents from a store; they are out of search on return, and a running ingest is waited for.

    Args:
        store: its name.
        places: paths or URIs; what was indexed at and below them is removed, and uploads are detached. A later ingest
            of a folder that holds the files indexes them again, unless a `.quothignore` leaves them out.

    Returns:
        How many documents were removed.

    Raises:
        StoreNotFoundError: there is no such store.
        NotFoundError: nothing was ever indexed or refused there.
    """
    found = await in_thread(engine.stores.get, store)
    uris = [uri_of(place) for place in places]
    removed = 0
    async with hold(engine.leases, engine.settings.data_dir, store_lease(found.id)) as lease:
        assert lease is not None, "whoever waits gets it"  # noqa: S101
        documents = engine.documents.under_lease(lease)
        writer = Writer(found.id, documents, engine.vectors)
        removed += await in_thread(_detach, engine, found.id, uris)
        await writer.sweep()
        while page := await in_thread(documents.below, found.id, uris, PAGE_DOCUMENTS):
            await writer.retire(page)
            removed += len(page)
        forgotten = await in_thread(engine.refusals.forget, found.id, uris)
        roots = await in_thread(engine.jobs.forget_roots, found.id, uris)
    if not removed + forgotten + roots:
        raise NotFoundError(f"Nothing in {store!r} lies at {', '.join(places)}. `quoth status --files` names files.")
    await in_thread(engine.documents.purge)
    return removed


def _detach(engine: Engine, store_id: str, uris: Sequence[str]) -> int:
    """Take out the uploads at and below URIs, so that nothing reads them again; the uploads themselves stay."""
    if not any(uri.startswith(UPLOADS) for uri in uris):
        return 0
    attached = engine.store_files.all(store_id)
    lost = [each.row.file_id for each in attached if any(each.uri == uri or is_below(each.uri, uri) for uri in uris)]
    return engine.store_files.detach(store_id, lost, submit=False)


def uri_of(place: str) -> str:
    """The URI of a path; a URI stays what it is."""
    return place if "://" in place else Path(place).expanduser().absolute().as_uri()
