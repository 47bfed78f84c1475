"""Set a store right: the ledger's rows first, then the points, then what only the files can tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from ingest.comparison import PAGE, Comparison, pages
from ingest.embedding import PointMaker
from ingest.examination import DocumentExaminer
from ingest.findings import Finding
from ingest.freshness import Disk
from ingest.pipeline import Ingestor
from ingest.refreshing import lacking_uploads
from ingest.sources import walk
from ingest.writing import SLICE, Writer
from rag.assembly import Engine
from rag.attributes import file_id_of
from rag.concurrency import in_thread
from rag.documents import Candidate, Chunk, Scores
from rag.filters import In
from rag.ledger.documents import Documents, Indexed
from rag.ledger.inspection import Stray
from rag.ledger.jobs import Job
from rag.ledger.leases import Lease
from rag.ledger.stores import Store

EMBED_CHUNKS = 256


class Repair:
    """Repairs one store; for the holder of its lease, except `read_again`, which takes the lease itself."""

    def __init__(self, engine: Engine, store: Store, lease: Lease) -> None:
        self._engine = engine
        self._store = store
        self._documents: Documents = engine.documents.under_lease(lease)
        self._inspection = engine.documents.inspection(store.id)
        self._mending = self._documents.mending(store.id)
        self._disk = Disk(engine, self._inspection)
        self._lost: set[Path] = set()
        self._uploads: set[str] = set()

    async def plan(self) -> Job | None:
        """Note that the store's folders are to be ingested, before anything is dropped: a kill must not lose that.

        Raises:
            InvalidInputError: a `.quothignore` cannot be understood.
        """
        async for page in pages(self._inspection.strays()):
            await in_thread(self._mending.drop, [stray for stray in page if stray.table in ("jobs", "roots")])
        paths = self._disk.present_roots()
        if not paths or await in_thread(next, walk(paths, self._engine.settings.ingest), None) is None:
            return None
        return await Ingestor(self._engine).submit(paths, self._store.name)

    async def rows(self) -> None:
        """Drop rows that belong to nothing, and documents that are not what was written or have lost their file."""
        await in_thread(self._mending.reactivate)
        async for page in pages(self._inspection.strays()):
            await in_thread(self._mending.drop, [stray for stray in page if not _is_swept(stray)])
        examiner = DocumentExaminer(self._store.id, self._inspection, self._disk)
        async for findings in pages(examiner.findings()):
            await in_thread(self._settle, findings)
        async for lacking in pages(lacking_uploads(self._engine, self._store.id, self._inspection)):
            self._uploads.update(finding.ids[0] for finding in lacking)
        await Writer(self._store.id, self._documents, self._engine.vectors).sweep()

    async def points(self) -> None:
        """Delete points that should not be there, then make those that are missing.

        Raises:
            UpstreamError: the embedder failed; run it again to finish.
        """
        wrong: list[str] = []
        async for finding in self._comparison().findings():
            if finding.kind in ("extra", "duplicated", "misfiled", "vectorless"):
                wrong += finding.ids
            if len(wrong) >= PAGE:
                await self._delete(wrong)
                wrong = []
        await self._delete(wrong)
        missing: list[str] = []
        async for finding in self._comparison().findings():
            if finding.kind == "missing":
                missing += finding.ids
            if len(missing) >= EMBED_CHUNKS:
                await self._embed(missing)
                missing = []
        await self._embed(missing)
        await self._engine.vectors.flush()
        await in_thread(self._documents.purge)

    async def read_again(self, job: Job | None, on_wait: Callable[[], None]) -> None:
        """Ingest what `plan` noted: what was dropped or has changed is read, and all else is found unchanged.

        Uploads are noted here. If a kill comes before, the next examination finds that their documents are lacking.
        """
        ingestor = Ingestor(self._engine)
        uploads = await in_thread(self._engine.store_files.again, self._store.id, sorted(self._uploads))
        if uploads:
            await ingestor.work(await in_thread(self._engine.jobs.get, uploads), on_wait=on_wait)
        if job:
            await ingestor.work(job, on_wait=on_wait)
        if self._lost:
            await ingestor.run(sorted(self._lost), self._store.name, on_wait=on_wait)

    def _comparison(self) -> Comparison:
        return Comparison(self._store.id, self._inspection, self._engine.vectors)

    def _settle(self, findings: list[Finding]) -> None:
        for finding in findings:
            file_id = file_id_of(finding.uri)
            if file_id and finding.action != "none":
                self._uploads.add(file_id)
            if finding.kind == "stale" and finding.action == "read":
                uri = finding.uri
                self._lost.update(self._disk.sources_of(uri) if not self._disk.has_root(uri) else ())
        self._mending.drop_documents(list({one.document: None for one in findings if one.action == "drop"}))
        self._mending.unsettle([one.document for one in findings if one.action == "unsettle"])

    async def _delete(self, ids: list[str]) -> None:
        if ids:
            await self._engine.vectors.delete(self._store.id, In("chunk_id", tuple(ids)))
            await self._engine.vectors.flush()

    async def _embed(self, ids: list[str]) -> None:
        """Make points of chunks from the ledger's text; documents without a digest are left to `read_again`."""
        store, engine = self._store.id, self._engine
        wanted = [Candidate(one, "", "", Scores()) for one in ids]
        by_uri: defaultdict[str, list[Chunk]] = defaultdict(list)
        for hit in await in_thread(self._documents.join, [store], wanted):
            by_uri[hit.uri].append(hit.chunk)
        records = await in_thread(self._documents.at, store, list(by_uri))
        intact = [Indexed(record, "", by_uri[uri]) for uri, record in records.items() if record.digest is not None]
        maker = PointMaker(store, engine.documents, engine.vectors, engine.embedder, engine.sparse)
        points = await maker.points(intact)
        for start in range(0, len(points), SLICE):
            await engine.vectors.upsert(store, points[start : start + SLICE])


def _is_swept(stray: Stray) -> bool:
    """Whether the writer's own sweep takes care of a row."""
    return stray.table == "generations" and bool(stray.state) and all(isinstance(part, str) for part in stray.key)
