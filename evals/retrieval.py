"""Systems and a dataset to scores: every judged question through the Retriever that the API serves."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from evals import kept_results
from evals.indexing import CACHE, Index, OnProgress, open_index, safe_name, short_digest
from evals.metrics import check_metrics, evaluate, mean
from evals.provenance import provenance
from evals.query_vectors import RememberingEmbedder
from evals.records import Case, Comparison, Dataset, EvalResult, SystemResult
from evals.significance import bootstrap_interval, compare
from evals.spans import overlap
from evals.systems import System, comparable, differing
from rag.assembly import open_reranker
from rag.documents import SearchHit
from rag.errors import InvalidInputError
from rag.protocols import Embedder, Reranker
from rag.retrieval import Retriever
from rag.settings import Settings

METRICS = ("ndcg@10", "recall@100", "recall@10", "mrr@10", "map", "success@5")
SPAN_METRICS = ("span_recall", "span_precision", "span_iou")
DEPTH = 100  # documents that are asked for
MOST_PASSAGES = 400
AT_ONCE = 4
TIMED = 200
WARMING = ("what is this about", "who wrote it", "when was it made")
STEP = 1e-6  # between the scores of neighbours in a run: what differs less is a tie to trec_eval

OpenIndex = Callable[[Settings, Dataset, Path, OnProgress], AbstractAsyncContextManager[Index]]


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure.

    Attributes:
        metrics: of documents, as `evals.metrics` names them.
        cache: folder of indexes and of the vectors of questions.
        timed: how many questions are timed at most, 0 for none.
        seed: of the resampling.
        command: for the provenance; None takes this process's.
        is_fresh: whether to measure also what was measured before and has not changed since.
    """

    metrics: Sequence[str] = METRICS
    cache: Path = CACHE
    timed: int = TIMED
    seed: int = 0
    command: str | None = None
    is_fresh: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What one question found: documents by their best passage, and the passages, best first."""

    scores: Mapping[str, float]
    hits: tuple[SearchHit, ...]


async def evaluate_retrieval(
    dataset: Dataset,
    systems: Sequence[System],
    options: Options | None = None,
    on_progress: OnProgress = lambda *_: None,
    opened: OpenIndex = open_index,
) -> EvalResult:
    """Measure systems on the judged questions of a dataset.

    Args:
        dataset: documents that it lacks in a store are indexed first.
        systems: each with a name of its own.
        options: None takes the defaults.
        on_progress: called while documents are indexed.
        opened: opens an index.

    Returns:
        Means over all questions with a relevant document; one that finds nothing counts 0. The span metrics are means
        over the questions whose passages are known, of the `retrieval.k` passages that an answer may quote. The
        provenance names the systems whose results are `kept` from an earlier run, with its time.

    Raises:
        InvalidInputError: a metric does not exist, or no question is judged.
        QuothError: as `open_index` and `Retriever.search`.
    """
    chosen = options or Options()
    check_metrics(chosen.metrics)
    queries = judged(dataset)
    results: list[SystemResult] = []
    kept: dict[str, str] = {}
    for system in systems:
        async with opened(system.settings, dataset, chosen.cache, on_progress) as index:
            place = _place(index, system, dataset, queries, chosen)
            found = None if chosen.is_fresh or index.seconds else kept_results.find(place)
            if found is None:
                found = await measure(index, system, dataset, queries, chosen)
                kept_results.keep(place, found)
            else:
                kept[system.name] = kept_results.time_of(place)
        results.append(found)
    return EvalResult(
        kind="retrieval",
        dataset=dataset.name,
        dataset_sha256=dataset.sha256,
        queries=len(queries),
        systems=tuple(results),
        comparisons=_comparisons(results, chosen.seed),
        provenance={**provenance(chosen.seed, chosen.command), "kept": kept},
        questions={query: dataset.queries[query] for query in queries},
    )


def _place(index: Index, system: System, dataset: Dataset, queries: Sequence[str], options: Options) -> Path:
    return kept_results.place_of(
        options.cache.expanduser() / "results",
        dataset=dataset.sha256,
        name=dataset.name,
        queries=list(queries),
        system=system.name,
        settings=comparable(system.settings),
        fingerprint=asdict(index.engine.embedder.fingerprint),
        metrics=list(options.metrics),
        timed=options.timed,
        seed=options.seed,
    )


def judged(dataset: Dataset) -> tuple[str, ...]:
    """Ids of the questions that at least one document answers. Raises InvalidInputError when there is none."""
    found = tuple(query for query, grades in dataset.qrels.items() if any(grade > 0 for grade in grades.values()))
    if not found:
        raise InvalidInputError(f"No question of {dataset.name} has a relevant document: nothing can be measured.")
    return found


async def measure(
    index: Index, system: System, dataset: Dataset, queries: Sequence[str], options: Options
) -> SystemResult:
    """Time one system, ask it everything, and score what it finds."""
    engine = index.engine
    # Timed first: the embedder remembers the last questions, and one that it knows is no search.
    reranker = await open_reranker(system.settings)
    retriever = _retriever(index, system, engine.embedder, reranker)
    latency = await _latency(retriever, index.store, dataset, queries, options.timed)
    name = f"{safe_name(dataset)}-{dataset.sha256[:8]}-{short_digest(asdict(engine.embedder.fingerprint))}.npz"
    embedder = RememberingEmbedder(engine.embedder, options.cache.expanduser() / "queries" / name)
    try:
        retriever = _retriever(index, system, embedder, reranker)
        found = await ask_all(retriever, index, dataset, queries, system.settings)
    finally:
        await embedder.save()
        if reranker:
            await reranker.close()
    per_query = _scores(found, dataset, queries, options.metrics, system.settings.retrieval.k, index)
    return SystemResult(
        name=system.name,
        settings=differing(system.settings),
        fingerprint=asdict(engine.embedder.fingerprint),
        metrics={metric: mean(values) for metric, values in per_query.items()},
        intervals={
            metric: bootstrap_interval(np.array(list(values.values())), seed=options.seed)
            for metric, values in per_query.items()
        },
        per_query=per_query,
        latency_ms=latency,
        run={query: found[query].scores for query in queries},
        index={"chunks": index.chunks, "bytes": index.size_bytes, "seconds": round(index.seconds, 3)},
    )


async def ask_all(
    retriever: Retriever, index: Index, dataset: Dataset, queries: Sequence[str], settings: Settings
) -> dict[str, Found]:
    """Ask some questions, a few at once; query -> what it found."""
    depth = passages_for(index, settings)
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(query: str) -> Found:
        async with turns:
            return await ask(retriever, index, dataset.queries[query], depth)

    async with asyncio.TaskGroup() as tasks:
        asked = {query: tasks.create_task(one(query)) for query in queries}
    return {query: task.result() for query, task in asked.items()}


async def ask(retriever: Retriever, index: Index, question: str, passages: int) -> Found:
    """Search so many passages, and rank documents by their best one; those that say the same follow each other."""
    result = await retriever.search(index.store, question, k=passages)
    scores: dict[str, float] = {}
    last = math.inf
    for hit in chain.from_iterable((hit, *result.copies.get(hit.chunk.id, ())) for hit in result.hits):
        document = index.documents[hit.chunk.document_id]
        if document not in scores and len(scores) < DEPTH:
            last = scores[document] = min(hit.score, last - STEP)
    return Found(scores, result.hits)


def passages_for(index: Index, settings: Settings) -> int:
    """How many passages about `DEPTH` documents take; never fewer than the candidates that an answer is made from."""
    documents = max(1, len(index.documents))
    wanted = math.ceil(min(DEPTH, documents) * index.chunks / documents)
    return max(settings.retrieval.candidates, min(wanted, MOST_PASSAGES))


def as_json(result: EvalResult) -> dict[str, Any]:
    """A result for programs: means and intervals, without the values of each question."""
    systems = [
        {
            "name": system.name, "metrics": dict(system.metrics),
            "intervals": {metric: list(interval) for metric, interval in system.intervals.items()},
            "latency_ms": dict(system.latency_ms), "index": dict(system.index), "settings": dict(system.settings),
            "fingerprint": dict(system.fingerprint),
        }
        for system in result.systems
    ]  # fmt: skip
    return {
        "dataset": result.dataset, "dataset_sha256": result.dataset_sha256, "queries": result.queries,
        "systems": systems, "comparisons": [asdict(each) for each in result.comparisons],
        "provenance": dict(result.provenance),
    }  # fmt: skip


def _retriever(index: Index, system: System, embedder: Embedder, reranker: Reranker | None) -> Retriever:
    engine = index.engine
    retrieval = system.settings.retrieval
    return Retriever(engine.stores, engine.documents, engine.vectors, embedder, engine.sparse, retrieval, reranker)


async def _latency(
    retriever: Retriever, store: str, dataset: Dataset, queries: Sequence[str], timed: int
) -> dict[str, float]:
    """Milliseconds of single searches as the API makes them, one after the other, over evenly spaced questions."""
    if not timed:
        return {}
    for question in WARMING:
        await retriever.search(store, question)
    step = math.ceil(len(queries) / timed)
    taken = []
    for query in queries[::step]:
        begun = time.perf_counter()
        await retriever.search(store, dataset.queries[query])
        taken.append((time.perf_counter() - begun) * 1000)
    found = {f"p{share}": round(float(np.percentile(taken, share)), 3) for share in (50, 95, 99)}
    return {**found, "queries": len(taken)}


def _scores(
    found: Mapping[str, Found], dataset: Dataset, queries: Sequence[str], metrics: Sequence[str], k: int, index: Index
) -> dict[str, dict[str, float]]:
    """Metric -> query -> value."""
    qrels = {query: dataset.qrels[query] for query in queries}
    scores = evaluate({query: found[query].scores for query in queries}, qrels, metrics)
    cases = [case for case in dataset.cases if case.id in found and _has_spans(case, dataset)]
    shares = {case.id: overlap(_passages(found[case.id].hits[:k], index), case.spans) for case in cases}
    if shares:
        for name, place in zip(SPAN_METRICS, range(3), strict=True):
            scores[name] = {query: share[place] for query, share in shares.items()}
    return scores


def _has_spans(case: Case, dataset: Dataset) -> bool:
    """Whether its passages are known, and are of documents that were searched."""
    return bool(case.spans) and all(span.document in dataset.documents for span in case.spans)


def _passages(hits: Sequence[SearchHit], index: Index) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for hit in hits:
        chunk = hit.chunk
        found.setdefault(index.documents[chunk.document_id], []).append((chunk.char_start, chunk.char_end))
    return found


def _comparisons(results: Sequence[SystemResult], seed: int) -> tuple[Comparison, ...]:
    """Every pair of systems on every metric; Holm's correction is over the pairs of one metric."""
    if len(results) < 2:
        return ()
    found: list[Comparison] = []
    for metric in results[0].per_query:
        found += compare(metric, {result.name: result.per_query[metric] for result in results}, seed)
    return tuple(found)
