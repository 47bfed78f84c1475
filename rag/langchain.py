"""Quoth's retriever for LangChain.

with QuothRetriever.open("default") as retriever:
    documents = retriever.invoke("How many days of leave are there?")
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr, SkipValidation

from rag.access import Caller
from rag.assembly import Engine, open_engine
from rag.documents import SearchHit
from rag.filters import Filter
from rag.settings import load_settings

T = TypeVar("T")


class QuothRetriever(BaseRetriever):
    """Finds passages of one store. May be called from any thread and any event loop."""

    store: str
    k: int | None = None
    where: SkipValidation[Filter] | None = None
    _home: _EngineHome = PrivateAttr()

    @classmethod
    def open(
        cls, store: str, *, k: int | None = None, where: Filter | None = None, settings: Mapping[str, Any] | None = None
    ) -> QuothRetriever:
        """Open the engine that the settings describe. It sees all of a store, as the command line does.

        Args:
            store: the store's name, its id (`vs_...`), or its title where only one has it.
            k: how many passages; None takes the configured number.
            where: what their documents' attributes must be.
            settings: nested values that win over environment and files.

        Raises:
            QuothError: as `load_settings`, `open_engine` and, when there is no such store, `Stores.resolve`.
        """
        home = _EngineHome(settings)
        try:
            found = home.engine.stores.resolve(store, Caller())
            retriever = cls(store=found.name, k=k, where=where)
        except BaseException:
            home.close()
            raise
        retriever._home = home
        return retriever

    def close(self) -> None:
        """Close the engine; no call may follow."""
        self._home.close()

    def __enter__(self) -> Self:
        """The retriever itself; it is closed at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:  # noqa: ARG002
        return self._home.submit(self._search(query)).result()

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002
    ) -> list[Document]:
        return await asyncio.wrap_future(self._home.submit(self._search(query)))

    async def _search(self, query: str) -> list[Document]:
        found = await self._home.engine.retriever.search(self.store, query, k=self.k, where=self.where)
        return [_document(hit) for hit in found.hits]


class _EngineHome:
    """An open engine and the event loop it lives in: its connections belong to one loop, its callers to many."""

    engine: Engine

    def __init__(self, settings: Mapping[str, Any] | None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="quoth-retriever", daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()
        try:
            self.engine = self.submit(self._stack.enter_async_context(open_engine(load_settings(settings)))).result()
        except BaseException:
            self._stop()
            raise

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        self.submit(self._stack.aclose()).result()
        self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _document(hit: SearchHit) -> Document:
    chunk = hit.chunk
    metadata = {
        "source": hit.uri, "title": hit.title, "score": hit.score, "document_id": chunk.document_id,
        "generation": chunk.generation, "char_start": chunk.char_start, "char_end": chunk.char_end,
        "headings": list(chunk.headings), "attributes": dict(hit.attributes), "file_id": hit.file_id,
        **chunk.locator.as_dict(),
    }  # fmt: skip
    return Document(id=chunk.id, page_content=chunk.text, metadata=metadata)
