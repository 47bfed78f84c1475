"""A dataset's documents in a store of the evals' own, which is made once and finished where it was interrupted.

Each index lies in a data directory of its own, because the inverse document frequencies are those of all that one
collection holds. Documents are cut, embedded and written by the parts that an ingest uses.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from evals.datasets import CORPUS, corpus_sha256
from evals.folder_questions import DOCUMENTS, QUESTIONS
from evals.records import CorpusDocument, Dataset
from ingest.chunking import RECIPE as CHUNKING_RECIPE
from ingest.chunking import chunk_document
from ingest.embedding import PointMaker
from ingest.parsers.plain import paragraphs
from ingest.pipeline import Ingestor
from ingest.sources import path_of
from ingest.writing import Writer
from rag.assembly import Engine, open_engine
from rag.concurrency import in_thread
from rag.documents import Document, document_id, generation_of
from rag.errors import StorageError
from rag.leasing import hold, store_lease
from rag.ledger.documents import DocumentRecord, Indexed
from rag.ledger.stores import Store
from rag.settings import QdrantSettings, Settings
from rag.tokens import replace_surrogates

CACHE = Path("~/.cache/quoth/evals")
DOCUMENTS_AT_ONCE = 64  # cut together, in a thread
BATCH_CHUNKS = 256  # embedded and written together: a kill costs seconds

OnProgress = Callable[[int, int], None]
"""Called with the documents that are done, and all that are to be done."""


@dataclass(frozen=True)
class Index:
    """A dataset in a store.

    Attributes:
        engine: open, for the time of the context that made this.
        store: the store's name.
        documents: id in the ledger -> id in the dataset.
        chunks: how many.
        seconds: that making it took; 0 when it was there.
        size_bytes: of its data directory.
    """

    engine: Engine
    store: str
    documents: dict[str, str]
    chunks: int
    seconds: float
    size_bytes: int


@asynccontextmanager
async def open_index(
    settings: Settings, dataset: Dataset, cache: Path = CACHE, on_progress: OnProgress = lambda *_: None
) -> AsyncIterator[Index]:
    """Open an engine over the index of a dataset under these settings, made or finished first.

    Args:
        settings: a system's. Data directory, ledger and vector store are the evals' own; nothing of the user's is
            touched.
        dataset: whose documents are searched.
        cache: folder of the indexes.
        on_progress: called while documents are indexed.

    Raises:
        ConfigurationError, ModelNotFoundError, StorageError, UpstreamError: as an ingest.
    """
    async with open_engine(own_settings(settings, dataset, cache)) as engine:
        yield await build_index(engine, dataset, on_progress)


def own_settings(settings: Settings, dataset: Dataset, cache: Path = CACHE) -> Settings:
    """The same settings over a data directory that belongs to this dataset, embedder and chunking."""
    embedder, folder = settings.embedder, dataset.folder.resolve() if _is_own_folder(dataset) else None
    key = [embedder.model, embedder.backend, embedder.base_url, settings.chunking.model_dump(mode="json"), str(folder)]
    name = f"{safe_name(dataset)}-{short_digest([corpus_sha256(dataset), *key])}"
    own = {"data_dir": cache.expanduser() / "indexes" / name, "ledger_url": None, "qdrant": QdrantSettings()}
    return settings.model_copy(update=own)


def safe_name(dataset: Dataset) -> str:
    """The dataset's name, as a file or a store may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", dataset.name).strip("-.")[:30] or "dataset"


async def build_index(engine: Engine, dataset: Dataset, on_progress: OnProgress = lambda *_: None) -> Index:
    """Bring a dataset's documents into a store of this engine; what is there already stays.

    Raises:
        StorageError, UpstreamError, LeaseLostError: it could not go on; the next call goes on from there.
    """
    fingerprint = short_digest(asdict(engine.embedder.fingerprint))
    store = await engine.open_store(f"{safe_name(dataset)}-{corpus_sha256(dataset)[:8]}-{fingerprint}")
    started = time.monotonic()
    if _is_own_folder(dataset):
        summary = await Ingestor(engine).run([dataset.folder / DOCUMENTS], store.name)
        is_new = bool(summary.indexed)
    else:
        is_new = await _write_documents(engine, dataset, store, on_progress)
    seconds = time.monotonic() - started if is_new else 0.0
    return Index(
        engine=engine,
        store=store.name,
        documents=await in_thread(_identities, engine, dataset, store),
        chunks=await in_thread(engine.documents.count_chunks, store.id),
        seconds=seconds,
        size_bytes=await in_thread(_size, engine.settings.data_dir),
    )


def uri_of(dataset: Dataset, identity: str) -> str:
    """The URI of a dataset's document in its store."""
    return f"dataset:{dataset.name}/{identity}"


async def _write_documents(engine: Engine, dataset: Dataset, store: Store, on_progress: OnProgress) -> bool:
    """Index what is not there yet; returns whether anything was not."""
    recipe = f"dataset;{CHUNKING_RECIPE};{engine.recipe}"
    async with hold(engine.leases, engine.settings.data_dir, store_lease(store.id)) as lease:
        assert lease is not None, "whoever waits gets the lease"  # noqa: S101
        documents = engine.documents.under_lease(lease)
        writer = Writer(store.id, documents, engine.vectors)
        maker = PointMaker(store.id, engine.documents, engine.vectors, engine.embedder, engine.sparse)
        await writer.sweep()
        there = await in_thread(lambda: {each.uri: each.generation for each in documents.all(store.id)})
        todo = [
            document
            for document in dataset.documents.values()
            if there.get(uri_of(dataset, document.id)) != _generation(document, recipe)
        ]
        done, waiting = 0, list[Indexed]()
        for some in _pages(todo):
            waiting += await in_thread(lambda: [_cut(engine, dataset, store, each, recipe) for each in some])  # noqa: B023
            done += len(some)
            if sum(len(each.chunks) for each in waiting) >= BATCH_CHUNKS or done == len(todo):
                await writer.write(waiting, await maker.points(waiting))
                waiting = []
                on_progress(done, len(todo))
        await _require_points(engine, store)
    return bool(todo)


def _pages(documents: list[CorpusDocument]) -> Iterator[list[CorpusDocument]]:
    for start in range(0, len(documents), DOCUMENTS_AT_ONCE):
        yield documents[start : start + DOCUMENTS_AT_ONCE]


def _cut(engine: Engine, dataset: Dataset, store: Store, document: CorpusDocument, recipe: str) -> Indexed:
    """A document as an ingest would have it. One that is a title alone is that text, so that it can be found."""
    title, text = _clean(document.title), _clean(document.text)
    if not text.strip():
        title, text = "", title
    uri = uri_of(dataset, document.id)
    identity, generation = document_id(store.id, uri), _generation(document, recipe)
    parsed = Document(title=title, text=text, blocks=tuple(paragraphs(text)), media_type="text/plain")
    chunks = chunk_document(parsed, identity, generation, engine.embedder.tokenizer, engine.chunk_tokens)
    record = DocumentRecord(
        id=identity, store_id=store.id, uri=uri, title=title, media_type=parsed.media_type, attributes={},
        size_bytes=len(text.encode()), mtime_ns=0, checked_ns=time.time_ns(), source_sha256=_source(document),
        recipe=recipe, generation=generation,
    )  # fmt: skip
    return Indexed(record=record, text=text, chunks=chunks)


def _clean(text: str) -> str:
    """Without what the ledger cannot hold; every character stays in its place."""
    return replace_surrogates(text).replace("\0", " ")


def _source(document: CorpusDocument) -> str:
    return hashlib.sha256(json.dumps([document.title, document.text]).encode()).hexdigest()


def _generation(document: CorpusDocument, recipe: str) -> str:
    return generation_of(_source(document), recipe)


async def _require_points(engine: Engine, store: Store) -> None:
    points = await engine.vectors.count(store.id)
    chunks = await in_thread(engine.documents.count_chunks, store.id)
    if points != chunks:
        raise StorageError(
            f"The index of the evals holds {points} points for {chunks} chunks. Delete {engine.settings.data_dir} and "
            "run it again."
        )


def _identities(engine: Engine, dataset: Dataset, store: Store) -> dict[str, str]:
    if not _is_own_folder(dataset):
        return {document_id(store.id, uri_of(dataset, identity)): identity for identity in dataset.documents}
    root = (dataset.folder / DOCUMENTS).resolve()
    records: Iterable[DocumentRecord] = engine.documents.all(store.id)
    return {record.id: path_of(record.uri).relative_to(root).as_posix() for record in records}


def _is_own_folder(dataset: Dataset) -> bool:
    """Whether the documents are files that an ingest reads."""
    return not (dataset.folder / CORPUS).is_file() and (dataset.folder / QUESTIONS).is_file()


def _size(folder: Path) -> int:
    """What a folder takes on disk; the vector store's files have holes."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def short_digest(value: object) -> str:
    """Twelve hexadecimal digits that name a value of JSON types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
