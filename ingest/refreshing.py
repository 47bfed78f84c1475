"""Uploads that a store is said to hold, against its documents: what is lacking, and what was read another way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from ingest.findings import Finding, printable
from ingest.origins import source_of
from ingest.outcomes import IngestSummary
from ingest.pipeline import Ingestor
from ingest.planning import SCAN_FILES, Recipes
from ingest.source_files import SourceFile
from rag.assembly import Engine
from rag.concurrency import in_thread
from rag.ledger.inspection import Inspection
from rag.ledger.stores import Store


def lacking_uploads(engine: Engine, store_id: str, inspection: Inspection) -> Iterator[Finding]:
    """Uploads whose row says that they can be found, or that a job reads them, while neither is so."""
    files = engine.store_files.all(store_id)
    at_work = {job["id"] for job in inspection.jobs() if job["state"] != "done"}
    while batch := list(islice(files, SCAN_FILES)):
        indexed = inspection.indexed([each.uri for each in batch])
        for each in batch:
            name = (each.row.file_id,)
            if each.row.status == "completed" and each.uri not in indexed:
                message = "The store is said to hold the upload, and has no document of it."
                yield Finding("stale", message, printable(each.uri), name, "read")
            elif each.row.status == "in_progress" and each.row.job_id not in at_work:
                message = "The upload is said to be on its way into the store, and no job reads it."
                yield Finding("stale", message, printable(each.uri), name, "read")


async def refresh_uploads(
    engine: Engine, store: Store, on_wait: Callable[[], None] = lambda: None
) -> IngestSummary | None:
    """Read those uploads of a store again that another version or other settings have read; None if there are none.

    Raises as Ingestor.run.
    """
    wanted = await in_thread(_outdated, engine, store)
    job_id = await in_thread(engine.store_files.again, store.id, wanted) if wanted else None
    if job_id is None:
        return None
    return await Ingestor(engine).work(await in_thread(engine.jobs.get, job_id), on_wait=on_wait)


def _outdated(engine: Engine, store: Store) -> list[str]:
    recipes = Recipes(engine)
    files = engine.store_files.all(store.id)
    found: list[str] = []
    while batch := list(islice(files, SCAN_FILES)):
        known = engine.documents.at(store.id, [each.uri for each in batch])
        for each in batch:
            record = known.get(each.uri)
            if record is None or each.row.status != "completed":
                continue
            source = source_of(engine, each)
            if isinstance(source, SourceFile) and record.recipe != recipes.of(source.path.name, source.terms):
                found.append(each.row.file_id)
    return found
