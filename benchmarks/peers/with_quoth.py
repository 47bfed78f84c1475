"""Quoth: searches through the Retriever that the API serves. Its ingest is `quoth ingest` itself."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.peers.scripted import Search, Searches, main
from evals.indexing import build_index
from evals.records import CorpusDocument, Dataset
from evals.retrieval import ask
from rag.assembly import Engine, open_engine
from rag.retrieval import Retriever
from rag.settings import load_settings

FUSIONS = {"hybrid": None, "dense": "dense", "bm25": "sparse"}  # None is what is configured
PASSAGES = 30  # that ten documents are chosen from: a document has more than one


class Quoth:
    """An engine that is opened when it is first asked for, and stays open in a blocking script."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run_until_complete(self._stack.aclose())
        self._loop.close()

    def ingest(self, folder: Path, store: Path) -> int:
        """Not here: the runner calls the command line, as a user does."""
        sys.exit(f"Call it as users do: quoth ingest {folder} --data {store}")

    def open_store(self, store: Path) -> Searches:
        """The configured search, and the one by likeness alone: each with an embedder that has seen no question yet."""
        return {way: self._passages(self._open(store), way) for way in ("hybrid", "dense")}

    def collect(self, documents: Mapping[str, str], store: Path) -> Searches:
        """A document is as good as its best passage."""
        engine = self._open(store)
        corpus = {identity: CorpusDocument(identity, "", text) for identity, text in documents.items()}
        digest = hashlib.sha256(json.dumps(list(documents.items())).encode()).hexdigest()
        index = self._loop.run_until_complete(build_index(engine, Dataset("peers", store, digest, corpus, {}, {})))

        def by(way: str) -> Search:
            retriever = _retriever(engine, way)
            return lambda text: list(self._loop.run_until_complete(ask(retriever, index, text, PASSAGES)).scores)[:10]

        return {way: by(way) for way in FUSIONS}

    def _open(self, store: Path) -> Engine:
        return self._loop.run_until_complete(
            self._stack.enter_async_context(open_engine(load_settings({"data_dir": store})))
        )

    def _passages(self, engine: Engine, way: str) -> Search:
        retriever = _retriever(engine, way)
        return lambda text: [
            hit.chunk.text
            for hit in self._loop.run_until_complete(retriever.search(engine.settings.store, text, k=5)).hits
        ]


def _retriever(engine: Engine, way: str) -> Retriever:
    """The engine's, or one that fuses in another way."""
    if FUSIONS[way] is None:
        return engine.retriever
    settings = engine.settings.retrieval.model_copy(update={"fusion": FUSIONS[way]})
    return Retriever(engine.stores, engine.documents, engine.vectors, engine.embedder, engine.sparse, settings)


if __name__ == "__main__":
    with Quoth() as quoth:
        main(quoth.ingest, quoth.open_store, quoth.collect)
