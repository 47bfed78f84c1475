"""One job from its beginning to its end: find, read, embed, write, prune, count. One bad file never stops it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from ingest.embedding import PointMaker
from ingest.origins import name_of, origin_of
from ingest.outcomes import BLAMELESS, FINE_FOR_PICTURES, FileOutcome, IngestSummary
from ingest.parsers.registry import is_picture
from ingest.planning import Planner, Recipes, refusal_of
from ingest.reading import Reader
from ingest.sandbox import ParserPool
from ingest.source_files import Refused, SourceFile
from ingest.waiting import Waiting
from ingest.writing import Checkpoint, Writer
from rag.assembly import Engine
from rag.concurrency import in_thread
from rag.documents import Point
from rag.errors import IngestStoppedError, LeaseLostError, ParseError, StorageError
from rag.ledger.documents import DocumentRecord, Indexed
from rag.ledger.jobs import WITHDRAWN, Job, JobFile
from rag.ledger.leases import Lease
from rag.ledger.refusals import Refusal

logger = logging.getLogger(__name__)

# Documents are embedded and written together once they have this many chunks: enough to fill the embedder's batches,
# few enough that a kill costs seconds.
BATCH_CHUNKS = 256

# Text that waits to be embedded: parsers are faster, and would fill the memory with a large folder.
WAITING_CHARACTERS = 4_000_000

PAGE_FILES = 64
_COUNTS = 5
PAGE_DOCUMENTS = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `last` is the file that was done, or `removed` the URI of a document that has lost its file."""

    found: int
    done: int
    last: FileOutcome | None = None
    removed: str = ""


OnProgress = Callable[[Progress], None]


class JobRun:
    """The state of one run. `all`, then `finish` or `fail`; every ledger write is under the lease."""

    def __init__(
        self,
        engine: Engine,
        job: Job,
        lease: Lease,
        checkpoint: Checkpoint,
        on_progress: OnProgress,
        stop: asyncio.Event | None = None,
    ) -> None:
        """Args: once `stop` is set, `all` raises IngestStoppedError as soon as nothing is half written."""
        self._engine = engine
        self._job = job
        self._lease = lease
        self._jobs = engine.jobs.under_lease(lease)
        self._documents = engine.documents.under_lease(lease)
        self._origin = origin_of(engine, job, lease)
        self._stop = stop or asyncio.Event()
        self._writing = asyncio.Lock()
        self._checkpoint = checkpoint
        self._on_progress = on_progress
        self._recipes = Recipes(engine)
        self._reader = Reader(engine, self._documents, job.store_id, self._recipes)
        self._points = PointMaker(job.store_id, engine.documents, engine.vectors, engine.embedder, engine.sparse)
        self._writer = Writer(job.store_id, self._documents, engine.vectors, checkpoint)
        self._found = self._done = 0
        self._removed = self._moved = 0
        self._reasons: dict[str, str] = {}  # of files on their way, why they are indexed

    async def all(self) -> IngestSummary:
        """Do everything; the summary adds up, and the store holds what it says."""
        await in_thread(self._jobs.start, self._job.id)
        await self._writer.sweep()
        todo = await self._scan()
        self._checkpoint("scanned")
        if todo:
            await self._read_and_write(attempts=0)
        if await in_thread(self._jobs.todo, self._job.id, -1, 1, 1):
            # With nothing beside them: what took their memory, or wrote to them, may have been the others.
            await self._read_and_write(attempts=1)
        await self._prune()
        return await self._count()

    async def _scan(self) -> bool:
        """Note every file that is there; returns whether any has to be read."""
        planner = Planner(self._engine, self._job.store_id, retry=self._job.retry)
        files = await in_thread(self._origin.found)
        todo = False
        while True:
            rows, outcomes, refusals = await in_thread(planner.judge, files, self._found)
            if not rows:
                break
            if self._stop.is_set():
                raise stopped()
            await in_thread(self._jobs.add, self._job.id, rows)
            if refusals:
                await in_thread(self._engine.refusals.replace, self._job.store_id, refusals, self._lease)
            await in_thread(self._origin.settle, outcomes)
            todo = todo or len(outcomes) < len(rows)
            self._found += len(rows)
            for outcome in outcomes:
                self._report(outcome)
        if not self._found and not await in_thread(self._origin.gone, "", 1):
            nothing = self._origin.nothing()
            if nothing:
                raise nothing
        return todo

    async def _read_and_write(self, attempts: int) -> None:
        todo: asyncio.Queue[tuple[JobFile, DocumentRecord | None] | None] = asyncio.Queue(maxsize=PAGE_FILES)
        ready = Waiting(WAITING_CHARACTERS)
        embedded: asyncio.Queue[tuple[list[Indexed], list[Point]] | None] = asyncio.Queue(maxsize=1)
        try:
            async with ParserPool(self._engine.settings.ingest) as pool, asyncio.TaskGroup() as tasks:
                readers = 1 if attempts else pool.size
                tasks.create_task(self._feed(todo, attempts, readers))
                tasks.create_task(self._embed(ready, embedded))
                stopping = tasks.create_task(self._stop_when_asked())
                writing = tasks.create_task(self._write(embedded))
                writing.add_done_callback(lambda _: stopping.cancel())
                async with asyncio.TaskGroup() as reading:
                    for _ in range(readers):
                        reading.create_task(self._read_files(todo, ready, pool))
                await ready.end()
        except ExceptionGroup as failures:
            raise _first(failures) from failures

    async def _stop_when_asked(self) -> None:
        await self._stop.wait()
        async with self._writing:
            raise stopped()

    async def _feed(
        self, todo: asyncio.Queue[tuple[JobFile, DocumentRecord | None] | None], attempts: int, readers: int
    ) -> None:
        last = -1
        while page := await in_thread(self._jobs.todo, self._job.id, last, PAGE_FILES, attempts):
            last = page[-1].seq
            known = await in_thread(self._documents.at, self._job.store_id, [file.uri for file in page])
            for file in page:
                await todo.put((file, known.get(file.uri)))
        for _ in range(readers):
            await todo.put(None)

    async def _read_files(
        self, todo: asyncio.Queue[tuple[JobFile, DocumentRecord | None] | None], ready: Waiting, pool: ParserPool
    ) -> None:
        while (item := await todo.get()) is not None:
            file, known = item
            try:
                document = await self._read(file, known, pool)
            except ParseError as error:
                await self._refuse(file, error.reason, str(error))
            except (StorageError, LeaseLostError):
                raise
            except Exception as error:
                # The edge of one file: whatever its parser did, the others go on.
                logger.exception("a file failed", extra={"uri": file.uri})
                await self._refuse(file, "internal", f"{type(error).__name__}: {error}")
            else:
                if document is None:
                    outcome = FileOutcome(file.uri, "unchanged")
                    await in_thread(self._jobs.close, self._job.id, file.uri, "unchanged")
                    await in_thread(self._origin.settle, [outcome])
                    self._report(outcome)
                else:
                    self._reasons[file.uri] = file.reason
                    await ready.put(document)

    async def _read(self, file: JobFile, known: DocumentRecord | None, pool: ParserPool) -> Indexed | None:
        source = await in_thread(self._origin.at, file.uri, file.root_uri)
        if isinstance(source, Refused):
            raise ParseError(source.reason, source.message)
        return await self._reader.read(source, known, pool)

    async def _refuse(self, file: JobFile, reason: str, message: str) -> None:
        """Remember why a file is not indexed, or that it is to be tried once more."""
        if reason in BLAMELESS and not file.attempts:
            await in_thread(self._jobs.close, self._job.id, file.uri, "todo", file.reason)
            return
        is_fine = reason in FINE_FOR_PICTURES and is_picture(name_of(file.uri))
        outcome = FileOutcome(file.uri, "skipped" if is_fine or reason == WITHDRAWN else "failed", reason, message)
        if reason == WITHDRAWN:
            await in_thread(self._jobs.close, self._job.id, file.uri, "skipped", reason)
        else:
            await in_thread(self._remember, file, outcome)
        self._report(outcome)

    def _remember(self, file: JobFile, outcome: FileOutcome) -> None:
        store_id = self._job.store_id
        source = self._origin.at(file.uri, file.root_uri)
        before = self._engine.refusals.at(store_id, [file.uri]).get(file.uri)
        refusal = Refusal(file.uri, outcome.outcome, outcome.reason, outcome.message)
        if isinstance(source, SourceFile):
            refusal = refusal_of(source, outcome, self._recipes.trial_of(source.path.name, source.terms), before)
        self._engine.refusals.replace(store_id, [refusal], self._lease)
        self._jobs.close(self._job.id, file.uri, outcome.outcome, outcome.reason)
        self._origin.settle([outcome])

    async def _embed(self, ready: Waiting, embedded: asyncio.Queue[tuple[list[Indexed], list[Point]] | None]) -> None:
        while batch := await ready.take(BATCH_CHUNKS):
            points = await self._points.points(batch)
            self._checkpoint("embedded")
            await embedded.put((batch, points))
        await embedded.put(None)

    async def _write(self, embedded: asyncio.Queue[tuple[list[Indexed], list[Point]] | None]) -> None:
        while (item := await embedded.get()) is not None:
            batch, points = item
            async with self._writing:
                await self._writer.write(batch, points, self._job.id)
            for each in batch:
                reason = self._reasons.pop(each.record.uri)
                self._report(FileOutcome(each.record.uri, "indexed", reason, chunks=len(each.chunks)))

    async def _prune(self) -> None:
        """Remove documents whose file is gone or no longer holds text: citing them would cite what is not there.

        What cannot be read at present, a file or a whole folder, stays as it was last read.
        """
        closed = tuple(f"{uri}/" for uri in await in_thread(self._jobs.uris, self._job.id, "unreadable"))
        after = ""
        while page := await in_thread(self._origin.gone, after, PAGE_DOCUMENTS):
            after = page[-1][0]
            gone = [row for row in page if row[2] not in self._origin.kept and not row[0].startswith(closed)]
            missing = [uri for uri, _, reason in gone if not reason]
            self._removed += len(missing)
            self._moved += await in_thread(self._jobs.count_moved, self._job, missing)
            await self._writer.retire([document for _, document, _ in gone])
            for uri in missing:
                self._on_progress(Progress(self._found, self._done, removed=uri))

    async def _count(self) -> IngestSummary:
        tally = await in_thread(self._jobs.tally, self._job.id)
        summary = IngestSummary.of(self._job.store, self._found, tally)
        summary.removed, summary.moved = self._removed, self._moved
        points = -1
        for _ in range(_COUNTS):
            # Uploads are taken out of sight at any time; what is left of them is not to be counted.
            await self._writer.sweep()
            summary.chunks = await in_thread(self._documents.count_chunks, self._job.store_id)
            points = await self._engine.vectors.count(self._job.store_id)
            if points == summary.chunks:
                break
        else:
            raise StorageError(
                f"The vector store holds {points} points of {self._job.store!r}, the ledger {summary.chunks} chunks. "
                f"Mend it: quoth doctor --store {self._job.store} --repair."
            )
        return summary

    async def finish(self, summary: IngestSummary) -> None:
        """Note that the job is done, and make what it deleted unreadable."""
        await in_thread(self._origin.finish)
        await in_thread(self._jobs.finish, self._job, summary.as_dict())
        if self._writer.has_deleted:
            await in_thread(self._documents.purge)
        self._checkpoint("finished")

    async def fail(self, error: Exception) -> None:
        """Note why the job could not go on, unless the ledger is what failed, or another process has the job now."""
        try:
            await in_thread(self._jobs.fail, self._job.id, f"{error}")
        except (StorageError, LeaseLostError) as second:
            logger.warning("the failed job could not be noted: %s", second)

    def _report(self, outcome: FileOutcome) -> None:
        self._done += 1
        self._on_progress(Progress(self._found, self._done, outcome))


def stopped() -> IngestStoppedError:
    """The error of a run that was asked to end."""
    return IngestStoppedError("The ingest was stopped in the middle, and goes on when it is run again.")


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    """The error that stopped the run; what else failed failed because of it."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
