"""Folder to index: plan, parse, chunk, embed, write, prune. One bad file never stops the run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.changes import compare_hash, compare_stat, seen_again
from ingest.chunking import RECIPE as CHUNKING_RECIPE
from ingest.chunking import chunk_document
from ingest.lock import ingest_lock
from ingest.outcomes import FileOutcome, IngestSummary
from ingest.parsers.registry import recipe_of
from ingest.sandbox import ParserPool
from ingest.sources import Refused, SourceFile, root_uri, walk
from ingest.writing import Checkpoint, Writer, no_checkpoint
from rag.assembly import Engine
from rag.concurrency import in_thread
from rag.documents import document_id, generation_of
from rag.errors import InvalidInputError, ParseError, StorageError
from rag.ledger.documents import DocumentRecord, Indexed, Refusal
from rag.ledger.stores import Store

logger = logging.getLogger(__name__)

# Documents are written together once they have this many chunks: enough to fill the embedder's batches, few enough
# that a kill costs seconds.
BATCH_CHUNKS = 256

UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    found: int
    done: int
    last: FileOutcome | None


OnProgress = Callable[[Progress], None]


class Ingestor:
    """Brings stores in step with folders."""

    def __init__(self, engine: Engine, checkpoint: Checkpoint = no_checkpoint) -> None:
        self._engine = engine
        self._checkpoint = checkpoint

    async def run(
        self,
        paths: Sequence[Path],
        store: str,
        *,
        on_progress: OnProgress = lambda _: None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> IngestSummary:
        """Index what is new or changed below `paths`, and remove what is gone.

        Args:
            paths: files and folders.
            store: the store's name; made when there is none.
            on_progress: called after every file.
            on_wait: called when another ingest of the store has to be waited for.

        Raises:
            InvalidInputError: a path does not exist, or the store's name is malformed.
            FingerprintMismatchError: the store was embedded by another embedder.
            StorageError, UpstreamError: the run could not go on; run it again to finish it.
        """
        started = time.monotonic()
        files = await in_thread(lambda: list(walk(paths, self._engine.settings.ingest)))
        if not files and store not in await in_thread(self._engine.stores.names):
            raise _nothing_found(paths)
        owner = await self._engine.open_store(store)
        async with ingest_lock(self._engine.settings.data_dir, owner.id, on_wait):
            run = _Run(self._engine, owner, paths, len(files), self._checkpoint, on_progress)
            await run.all(files)
        run.summary.seconds = time.monotonic() - started
        return run.summary


class _Run:
    """The state of one run."""

    def __init__(
        self, engine: Engine, store: Store, paths: Sequence[Path], found: int, checkpoint: Checkpoint,
        on_progress: OnProgress,
    ) -> None:  # fmt: skip
        self.summary = IngestSummary(store=store.name, found=found)
        self._engine = engine
        self._store = store
        self._paths = paths
        self._roots = [root_uri(path) for path in paths]
        self._on_progress = on_progress
        self._refusals: list[Refusal] = []
        self._kept: set[str] = set()
        self._done = 0
        self._writer = Writer(store.id, engine.documents, engine.vectors, engine.embedder, engine.sparse, checkpoint)
        self._ready: asyncio.Queue[Indexed | None] = asyncio.Queue(maxsize=32)

    async def all(self, files: Sequence[SourceFile | Refused]) -> None:
        await self._writer.sweep()
        self._known = await in_thread(self._engine.documents.under, self._store.id, self._roots)
        if not files and not self._known:
            raise _nothing_found(self._paths)
        todo: asyncio.Queue[SourceFile] = asyncio.Queue()
        for file in files:
            if isinstance(file, Refused):
                self._close(FileOutcome(file.uri, file.outcome, file.reason, file.message))
            elif self._is_unchanged(file):
                self._close(FileOutcome(file.uri, "unchanged"))
            else:
                todo.put_nowait(file)
        if not todo.empty():
            await self._read_and_write(todo)
        await self._prune()
        await self._finish()

    def _is_unchanged(self, file: SourceFile) -> bool:
        return compare_stat(file, self._known.get(file.uri), self._recipe(file)) == "unchanged"

    async def _read_and_write(self, todo: asyncio.Queue[SourceFile]) -> None:
        try:
            async with ParserPool(self._engine.settings.ingest) as pool, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write_batches())
                async with asyncio.TaskGroup() as readers:
                    for _ in range(min(pool.size, todo.qsize())):
                        readers.create_task(self._read_files(todo, pool))
                await self._ready.put(None)
        except ExceptionGroup as failures:
            raise _first(failures) from failures

    async def _read_files(self, todo: asyncio.Queue[SourceFile], pool: ParserPool) -> None:
        while not todo.empty():
            file = todo.get_nowait()
            try:
                ready = await self._read(file, pool)
            except ParseError as error:
                self._close(FileOutcome(file.uri, "failed", error.reason, str(error)))
            except Exception as error:
                # The edge of one file: whatever its parser did, the others go on.
                logger.exception("a file failed", extra={"uri": file.uri})
                self._close(FileOutcome(file.uri, "failed", "internal", f"{type(error).__name__}: {error}"))
            else:
                if ready is None:
                    self._close(FileOutcome(file.uri, "unchanged"))
                else:
                    await self._ready.put(ready)

    async def _read(self, file: SourceFile, pool: ParserPool) -> Indexed | None:
        """Parse and chunk a file; None when its bytes are those that are indexed."""
        source = await in_thread(file.read, self._engine.settings.ingest.max_file_bytes)
        recipe = self._recipe(file)
        known = self._known.get(file.uri)
        if known is not None and compare_hash(source.sha256, known, recipe) == "unchanged":
            await in_thread(self._engine.documents.touch, [seen_again(source.file, known, time.time_ns())])
            return None
        document = await pool.parse(source.data, file.path.name)
        identity = document_id(self._store.id, file.uri)
        generation = generation_of(source.sha256, recipe)
        chunks = await in_thread(
            chunk_document, document, identity, generation, self._engine.embedder.tokenizer, self._engine.chunk_tokens
        )
        if not chunks:
            raise ParseError("no_text", f"{file.path.name} holds no text that could be indexed.")
        record = DocumentRecord(
            id=identity, store_id=self._store.id, uri=file.uri, title=document.title, media_type=document.media_type,
            attributes=document.attributes, size_bytes=source.file.size_bytes, mtime_ns=source.file.mtime_ns,
            checked_ns=time.time_ns(), source_sha256=source.sha256, recipe=recipe, generation=generation,
        )  # fmt: skip
        return Indexed(record=record, text=document.text, chunks=chunks)

    async def _write_batches(self) -> None:
        batch: list[Indexed] = []
        while True:
            item = await self._ready.get()
            if item is not None:
                batch.append(item)
            full = sum(len(each.chunks) for each in batch) >= BATCH_CHUNKS
            if batch and (full or item is None):
                await self._writer.write(batch)
                for each in batch:
                    self._close(FileOutcome(each.record.uri, "indexed", chunks=len(each.chunks)))
                batch = []
            if item is None:
                return

    async def _prune(self) -> None:
        """Remove documents whose file is gone or no longer holds text: citing them would cite what is not there.

        What cannot be read at present, a file or a whole folder, stays as it was last read.
        """
        closed = tuple(refusal.uri for refusal in self._refusals if refusal.reason == UNREADABLE)
        below = tuple(f"{uri}/" for uri in closed)
        refused = {refusal.uri for refusal in self._refusals}
        gone = {
            uri: record.id
            for uri, record in self._known.items()
            if uri not in self._kept and uri not in closed and not uri.startswith(below)
        }
        await self._writer.retire(list(gone.values()))
        self.summary.removed = sum(uri not in refused for uri in gone)

    async def _finish(self) -> None:
        documents, vectors = self._engine.documents, self._engine.vectors
        await in_thread(documents.replace_refusals, self._store.id, self._roots, self._refusals)
        self.summary.chunks = await in_thread(documents.count_chunks, self._store.id)
        points = await vectors.count(self._store.id)
        if points != self.summary.chunks:
            raise StorageError(
                f"The vector store holds {points} points of {self._store.name!r}, the ledger {self.summary.chunks} "
                f"chunks. Make the store anew: quoth stores delete {self._store.name}, then quoth ingest."
            )
        self.summary.require_identity()

    def _recipe(self, file: SourceFile) -> str:
        return f"{recipe_of(file.path.name)};{CHUNKING_RECIPE};{self._engine.recipe}"

    def _close(self, outcome: FileOutcome) -> None:
        self.summary.add(outcome)
        if outcome.outcome in ("indexed", "unchanged"):
            self._kept.add(outcome.uri)
        else:
            self._refusals.append(Refusal(outcome.uri, outcome.outcome, outcome.reason, outcome.message))
        self._done += 1
        self._on_progress(Progress(self.summary.found, self._done, outcome))


def _nothing_found(paths: Sequence[Path]) -> InvalidInputError:
    return InvalidInputError(
        f"There are no files in {', '.join(str(path) for path in paths)}. Name a folder that holds documents; hidden "
        "files are not read."
    )


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    """The error that stopped the run; what else failed failed because of it."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
