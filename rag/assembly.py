"""Settings to a live engine: the only place that chooses a backend, and that opens and closes one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from rag.answerability import AnswerabilityJudge, Calibration
from rag.answering import Answerer
from rag.bm25 import BM25Encoder
from rag.concurrency import in_thread
from rag.condensing import Condenser
from rag.errors import ConfigurationError, ModelNotFoundError
from rag.gathering import GatheringChatModel
from rag.leasing import hold, store_lease
from rag.ledger.calibrations import Calibrations
from rag.ledger.connection import connect as connect_ledger
from rag.ledger.connection import purge
from rag.ledger.conversations import Conversations
from rag.ledger.documents import Documents
from rag.ledger.feedback import FeedbackLog
from rag.ledger.files import Files
from rag.ledger.idempotency import IdempotentRequests
from rag.ledger.jobs import Jobs
from rag.ledger.keys import Keys
from rag.ledger.leases import Leases
from rag.ledger.library import Library
from rag.ledger.refusals import Refusals
from rag.ledger.responses import Responses
from rag.ledger.store_files import StoreFiles
from rag.ledger.stores import Store, Stores
from rag.prompt_files import prompt_text
from rag.protocols import ChatModel, ChunkStore, Embedder, Fingerprint, Reranker, SparseEncoder
from rag.retrieval import Retriever
from rag.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine as Ledger

logger = logging.getLogger(__name__)

EMBEDDERS = {"onnx": "onnx", "sentence-transformers": "sentence_transformer", "openai": "openai"}


@dataclass(frozen=True)
class Engine:
    """Everything that is open while Quoth works. Made by `open_engine`."""

    settings: Settings
    stores: Stores
    documents: Documents
    library: Library
    refusals: Refusals
    jobs: Jobs
    store_files: StoreFiles
    conversations: Conversations
    feedback: FeedbackLog
    keys: Keys
    calibrations: Calibrations
    files: Files
    idempotency: IdempotentRequests
    responses: Responses
    leases: Leases
    vectors: ChunkStore
    embedder: Embedder
    sparse: SparseEncoder
    retriever: Retriever
    collection: str

    @property
    def chunk_tokens(self) -> int:
        """The longest chunk: as configured, but never longer than the embedder reads."""
        return min(self.settings.chunking.max_tokens, self.embedder.max_tokens)

    @property
    def recipe(self) -> str:
        """Names what a document's chunks and weights depend on besides its bytes and its parser."""
        return f"chunks={self.chunk_tokens};sparse={self.sparse.fingerprint}"

    async def open_store(self, name: str) -> Store:
        """The store of this name, made for this engine's embedder when there is none.

        Raises:
            InvalidInputError: the name is malformed.
            FingerprintMismatchError: the store was embedded by another embedder.
        """
        return await in_thread(self.stores.get_or_create, name, self.collection, self.embedder.fingerprint)


@asynccontextmanager
async def open_engine(settings: Settings) -> AsyncIterator[Engine]:
    """Open ledger, embedder and vector store; close them in the reverse order.

    Raises:
        ConfigurationError: a setting does not fit, or a package is missing.
        ModelNotFoundError: the embedder's files are not here.
        StorageError: the ledger or the vector store cannot be opened.
    """
    async with AsyncExitStack() as stack:
        ledger = await in_thread(connect_ledger, settings.data_dir, settings.ledger_url)
        stack.callback(ledger.dispose)
        embedder = await _open_embedder(settings)
        stack.push_async_callback(embedder.close)
        collection = collection_name(embedder.fingerprint)
        vectors = _open_vectors(settings, collection, embedder.fingerprint.dimension)
        stack.push_async_callback(vectors.close)
        reranker = await open_reranker(settings)
        if reranker:
            stack.push_async_callback(reranker.close)
        yield make_engine(settings, ledger, vectors, embedder, collection, reranker)


def make_engine(
    settings: Settings,
    ledger: Ledger,
    vectors: ChunkStore,
    embedder: Embedder,
    collection: str,
    reranker: Reranker | None = None,
) -> Engine:
    """An engine over what is open already."""
    stores, documents, sparse = Stores(ledger), Documents(ledger), BM25Encoder()
    return Engine(
        settings=settings, stores=stores, documents=documents, library=Library(ledger, stores, documents),
        refusals=Refusals(ledger), jobs=Jobs(ledger),
        store_files=StoreFiles(ledger), conversations=Conversations(ledger), feedback=FeedbackLog(ledger),
        keys=Keys(ledger),
        calibrations=Calibrations(ledger), files=Files(ledger),
        idempotency=IdempotentRequests(ledger), responses=Responses(ledger),
        leases=Leases(ledger), vectors=vectors, embedder=embedder, sparse=sparse,
        retriever=Retriever(stores, documents, vectors, embedder, sparse, settings.retrieval, reranker),
        collection=collection,
    )  # fmt: skip


@asynccontextmanager
async def open_answerer(engine: Engine) -> AsyncIterator[Answerer]:
    """Open the configured chat model over an engine.

    Raises:
        ConfigurationError: QUOTH_CHAT__MODEL names no kind of model, or a package is missing.
        ModelNotFoundError: a local model's files are not here.
    """
    chat = engine.settings.chat
    async with AsyncExitStack() as stack:
        model = await open_chat_model(engine)
        stack.push_async_callback(model.close)
        # Local models are small and slow: rewriting a question would cost seconds and rarely work out.
        is_hosted = ":" in chat.model and not chat.model.startswith("local:")
        instructions = prompt_text("condense", chat.prompts_dir)
        condenser = Condenser(model if is_hosted else None, instructions=instructions)
        yield Answerer(
            engine.retriever, GatheringChatModel(model), chat, condenser, judge=open_judge(engine).judge,
            floor=_open_floor(engine),
        )  # fmt: skip


def open_judge(engine: Engine) -> AnswerabilityJudge:
    """What tells whether a question is answered by what was found for it."""

    async def own(store_id: str) -> Calibration | None:
        found = await in_thread(engine.calibrations.get, store_id)
        return Calibration.from_dict(found) if found else None

    return AnswerabilityJudge(engine.embedder.fingerprint.model, own, engine.settings.chat.answerable_threshold)


def _open_floor(engine: Engine) -> ChatModel:
    from rag.backends.chat.extractive import ExtractiveChatModel

    return ExtractiveChatModel(engine.embedder)


async def open_chat_model(engine: Engine) -> ChatModel:
    """The configured chat model. Raises as `open_answerer`."""
    chat, models_dir = engine.settings.chat, engine.settings.models_dir
    if chat.model == "extractive":
        from rag.backends.chat.extractive import ExtractiveChatModel

        return ExtractiveChatModel(engine.embedder, await _open_sentence_judge(engine.settings))
    if chat.model.startswith("local:"):
        from rag.backends.chat.local import open_local

        return await open_local(chat, models_dir)
    if ":" in chat.model:
        from rag.backends.chat.langchain import create

        return await create(chat, models_dir)
    raise ConfigurationError(
        f"QUOTH_CHAT__MODEL is {chat.model!r}: use `extractive`, `local:NAME`, or `PROVIDER:MODEL` such as "
        "`openai:gpt-4o-mini`."
    )


def collection_name(fingerprint: Fingerprint) -> str:
    """The Qdrant collection of an embedder: stores that agree on it share the collection."""
    digest = hashlib.sha256(repr(sorted(asdict(fingerprint).items())).encode()).hexdigest()
    return f"quoth-{digest[:16]}"


async def _open_embedder(settings: Settings) -> Embedder:
    module = import_module(f"rag.backends.embedders.{EMBEDDERS[settings.embedder.backend]}")
    embedder: Embedder = await module.create(settings.embedder, settings.models_dir)
    return embedder


async def _open_sentence_judge(settings: Settings) -> Reranker | None:
    """What chooses among the sentences of an extractive answer; without its files, words and likeness do."""
    from rag.backends.rerankers.cross_encoder import create

    try:
        return await create(settings.retrieval, settings.models_dir)
    except ModelNotFoundError as error:
        logger.info("sentences are chosen by words and likeness: %s", error)
        return None


async def open_reranker(settings: Settings) -> Reranker | None:
    """The configured reranker, None where it is switched off.

    Raises:
        ModelNotFoundError, ConfigurationError: as its backend's `create`.
    """
    if settings.retrieval.rerank == "off":
        return None
    from rag.backends.rerankers.cross_encoder import create

    return await create(settings.retrieval, settings.models_dir)


def _open_vectors(settings: Settings, collection: str, dimension: int) -> ChunkStore:
    qdrant = settings.qdrant
    if qdrant.url is None:
        from rag.backends.vectors.qdrant_edge import EdgeChunkStore

        return EdgeChunkStore(
            settings.data_dir, collection, dimension, index_from=qdrant.index_from, quantised=qdrant.quantised
        )
    from rag.backends.vectors.qdrant_server import ServerChunkStore, connect

    return ServerChunkStore(
        connect(settings.qdrant), collection, dimension, index_from=qdrant.index_from, quantised=qdrant.quantised
    )


async def delete_store(settings: Settings, name: str) -> None:
    """Delete a store and all that it holds, whichever embedder made it; an ingest into it stops at its next step.

    Raises:
        StoreNotFoundError: there is none of this name.
    """
    async with AsyncExitStack() as stack:
        ledger = await in_thread(connect_ledger, settings.data_dir, settings.ledger_url)
        stack.callback(ledger.dispose)
        stores = Stores(ledger)
        store = await in_thread(stores.get, name)
        vectors = _open_vectors(settings, store.collection, store.fingerprint.dimension)
        stack.push_async_callback(vectors.close)
        await _delete(store, stores, Leases(ledger), settings, vectors)
        await in_thread(purge, ledger)


async def drop_store(engine: Engine, store: Store) -> None:
    """Delete a store with an engine that is open, whichever embedder made it; as `delete_store` otherwise."""
    async with AsyncExitStack() as stack:
        vectors = engine.vectors
        if store.collection != engine.collection:
            vectors = _open_vectors(engine.settings, store.collection, store.fingerprint.dimension)
            stack.push_async_callback(vectors.close)
        await _delete(store, engine.stores, engine.leases, engine.settings, vectors)
    await in_thread(engine.documents.purge)


async def _delete(store: Store, stores: Stores, leases: Leases, settings: Settings, vectors: ChunkStore) -> None:
    async with hold(leases, settings.data_dir, store_lease(store.id), take_over=True):
        await vectors.delete(store.id)
        await vectors.flush()
        await in_thread(stores.delete, store)
