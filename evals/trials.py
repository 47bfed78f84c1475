"""Some settings on some questions, as a search over settings asks them: quality and latency from the same searches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from evals.halving import Measured
from evals.indexing import CACHE, Index, OnProgress, open_index, own_settings
from evals.metrics import evaluate
from evals.records import Case, Dataset
from evals.retrieval import SPAN_METRICS, Found, OpenIndex
from evals.space import Changes, changed
from evals.spans import overlap
from rag.errors import InvalidInputError
from rag.retrieval import Retriever
from rag.settings import RetrievalSettings, Settings

WARMING = "what is this about"

Key = tuple[Path, RetrievalSettings | None]
"""Where an index lies, and the settings of an engine that reranks."""


class Trials:
    """Asks questions of a dataset under changing settings; every index is made and opened once.

    A search asks for as many passages as the setting `retrieval.candidates` takes from each list, so that this setting
    counts; documents stand where their best passage does. The span metrics are of the first `retrieval.k`.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: Settings,
        metric: str,
        stack: AsyncExitStack,
        *,
        cache: Path = CACHE,
        opened: OpenIndex = open_index,
        on_progress: OnProgress = lambda *_: None,
    ) -> None:
        """Indexes stay open until the stack is closed."""
        self._dataset = dataset
        self._settings = settings
        self._metric = metric
        self._stack = stack
        self._cache = cache
        self._opened = opened
        self._on_progress = on_progress
        self._cases = {case.id: case for case in dataset.cases if _has_spans(case, dataset)}
        self._indexes: dict[Key, Index] = {}
        self._embedding: dict[tuple[Key, str], float] = {}

    def queries(self) -> tuple[str, ...]:
        """Ids of the questions that the metric can be taken of. Raises InvalidInputError where there is none."""
        if self._metric in SPAN_METRICS:
            found = tuple(self._cases)
        else:
            found = tuple(id_ for id_, grades in self._dataset.qrels.items() if any(g > 0 for g in grades.values()))
        if not found:
            raise InvalidInputError(
                f"No question of the dev half of {self._dataset.name} can be scored by {self._metric}."
            )
        return found

    async def __call__(self, changes: Changes, queries: Sequence[str]) -> Measured:
        """Ask one after the other, since what is timed is a single search."""
        settings = changed(self._settings, changes)
        has_reranker = settings.retrieval.rerank != "off"
        # An engine opens the reranker that its settings name, so those that rerank have an engine each.
        key = own_settings(settings, self._dataset, self._cache).data_dir, settings.retrieval if has_reranker else None
        index = await self._index(key, settings)
        engine = index.engine
        retriever = engine.retriever
        if not has_reranker:
            retriever = Retriever(
                engine.stores, engine.documents, engine.vectors, engine.embedder, engine.sparse, settings.retrieval
            )
        found, milliseconds = {}, {}
        for query in queries:
            found[query], milliseconds[query] = await self._ask(retriever, index, key, query, settings)
        return Measured(self._scores(found, index, settings), milliseconds)

    async def _index(self, key: Key, settings: Settings) -> Index:
        if key not in self._indexes:
            context = self._opened(settings, self._dataset, self._cache, self._on_progress)
            index = self._indexes[key] = await self._stack.enter_async_context(context)
            # The first search of a process loads what the others find in memory.
            await index.engine.retriever.search(index.store, WARMING)
        return self._indexes[key]

    async def _ask(
        self, retriever: Retriever, index: Index, key: Key, query: str, settings: Settings
    ) -> tuple[Found, float]:
        """The embedder remembers questions, so what embedding one took is noted when it is new to it."""
        wanted = max(settings.retrieval.k, settings.retrieval.candidates)
        begun = time.perf_counter()
        result = await retriever.search(index.store, self._dataset.queries[query], k=wanted)
        embedding = result.milliseconds["embed"]
        others = (time.perf_counter() - begun) * 1000 - embedding
        scores: dict[str, float] = {}
        for place, hit in enumerate(result.hits):
            scores.setdefault(index.documents[hit.chunk.document_id], float(-place))
        return Found(scores, result.hits), others + self._embedding.setdefault((key, query), embedding)

    def _scores(self, found: Mapping[str, Found], index: Index, settings: Settings) -> dict[str, float]:
        if self._metric not in SPAN_METRICS:
            qrels = {query: self._dataset.qrels[query] for query in found}
            return evaluate({query: one.scores for query, one in found.items()}, qrels, [self._metric])[self._metric]
        share = self._metric.removeprefix("span_")
        values = {}
        for query, one in found.items():
            passages: dict[str, list[tuple[int, int]]] = {}
            for hit in one.hits[: settings.retrieval.k]:
                document = index.documents[hit.chunk.document_id]
                passages.setdefault(document, []).append((hit.chunk.char_start, hit.chunk.char_end))
            values[query] = getattr(overlap(passages, self._cases[query].spans), share)
        return values


def _has_spans(case: Case, dataset: Dataset) -> bool:
    return bool(case.spans) and all(span.document in dataset.documents for span in case.spans)
