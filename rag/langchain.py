"""Quoth's retriever for LangChain.

retriever = QuothRetriever.open("default")
documents = retriever.invoke("How many days of leave are there?")
retriever.close()
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr

from rag.assembly import Engine, open_engine
from rag.documents import SearchHit
from rag.settings import load_settings

T = TypeVar("T")


class QuothRetriever(BaseRetriever):
    """Finds passages of one store. May be called from any thread and any event loop."""

    store: str
    k: int | None = None
    _home: _EngineHome = PrivateAttr()

    @classmethod
    def open(cls, store: str, *, k: int | None = None, settings: Mapping[str, Any] | None = None) -> QuothRetriever:
        """Open the engine that the settings describe.

        Args:
            store: the store's name.
            k: how many passages; None takes the configured number.
            settings: nested values that win over environment and files.

        Raises:
            QuothError: as `load_settings`, `open_engine` and, when there is no such store, `Stores.get`.
        """
        retriever = cls(store=store, k=k)
        retriever._home = _EngineHome(settings)
        try:
            retriever._home.engine.stores.get(store)
        except BaseException:
            retriever.close()
            raise
        return retriever

    def close(self) -> None:
        """Close the engine; no call may follow."""
        self._home.close()

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
        found = await self._home.engine.retriever.search(self.store, query, k=self.k)
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
        "char_start": chunk.char_start, "char_end": chunk.char_end, "headings": list(chunk.headings),
        **chunk.locator.as_dict(),
    }  # fmt: skip
    return Document(id=chunk.id, page_content=chunk.text, metadata=metadata)
