"""Quality of every way to make one ranking of two lists, each with and without a cross-encoder behind it.

    python -m benchmarks.ranking --data DIR --queries 100 --depth 30

DIR holds datasets in BEIR layout, also in folders of folders. Documents are indexed as `quoth eval` does, into the same
cache; of each dataset that many evenly spaced questions are asked. Both lists come from the store, and rag.fusion and
rag.reranking make the rankings, as in a search; documents are ranked by their best passage. The cross-encoder judges
the first passages of each ranking without a limit of time; its scores are kept beside the indexes, since a pair takes
tens of milliseconds. Prints nDCG@10 and Recall@100; `evals.metrics` is tested against pytrec_eval.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.datasets import find_dataset, list_datasets, read_dataset
from evals.indexing import CACHE, Index, open_index
from evals.metrics import evaluate, mean
from evals.records import Dataset
from evals.retrieval import judged
from rag.assembly import open_reranker
from rag.documents import SearchHit
from rag.fusion import fuse
from rag.protocols import Reranker
from rag.reranking import rerank
from rag.settings import RetrievalSettings, Settings, load_settings

METRICS = ("ndcg@10", "recall@100")
DOCUMENTS = 100
FUSIONS = {
    "BM25": RetrievalSettings(fusion="sparse"),
    "dense": RetrievalSettings(fusion="dense"),
    "RRF": RetrievalSettings(fusion="rrf"),
    "DBSF": RetrievalSettings(fusion="dbsf"),
    **{f"sum {weight}": RetrievalSettings(fusion="sum", dense_weight=weight) for weight in (0.3, 0.4, 0.5, 0.6, 0.7)},
    "adaptive 0.5": RetrievalSettings(fusion="adaptive"),
}
DEPTHS = (5, 10, 20)
WEIGHTS = (0.3, 0.5, 0.7, 1.0)

Rankings = dict[str, dict[str, dict[str, float]]]
"""Method -> query -> document -> score."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is ranked: questions of each dataset, and how many passages a reranker judges; 0 is no reranker."""

    queries: int
    depth: int
    candidates: int
    cache: Path


class Judgements:
    """The scores of a reranker, kept in a file of lines `[question and passage, score]`."""

    def __init__(self, reranker: Reranker, path: Path) -> None:
        self._reranker, self._path = reranker, path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self._scores: dict[str, float] = dict(json.loads(line) for line in lines)

    async def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """Of each passage, 0 to 1."""
        keys = [hashlib.sha256(json.dumps([question, passage]).encode()).hexdigest()[:24] for passage in passages]
        missing = {key: text for key, text in zip(keys, passages, strict=True) if key not in self._scores}
        new = dict(zip(missing, await self._reranker.score(question, list(missing.values())), strict=True))
        if new:
            self._scores |= new
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(pair) + "\n" for pair in new.items())
        return [self._scores[key] for key in keys]


def by_document(hits: Iterable[SearchHit], documents: Mapping[str, str]) -> dict[str, float]:
    """The first documents of a ranking of passages, with scores that fall."""
    names = dict.fromkeys(documents[hit.chunk.document_id] for hit in hits)
    return {name: 1 / place for place, name in enumerate(list(names)[:DOCUMENTS], 1)}


async def rank(index: Index, dataset: Dataset, plan: Plan, judge: Judgements | None) -> Rankings:
    """Ask some questions, and rank what both lists bring in every way."""
    engine, found = index.engine, Rankings()
    store = engine.stores.get(index.store)
    queries = judged(dataset)
    for query in queries[:: math.ceil(len(queries) / plan.queries)]:
        question = dataset.queries[query]
        lists = await engine.retriever.candidates(index.store, question, plan.candidates)
        rankings = {name: engine.documents.join([store.id], fuse(lists, each)) for name, each in FUSIONS.items()}
        if judge:
            rankings |= await reranked(judge, question, rankings, plan.depth)
        for name, hits in rankings.items():
            found.setdefault(name, {})[query] = by_document(hits, index.documents)
    return found


async def reranked(
    judge: Judgements, question: str, rankings: Mapping[str, list[SearchHit]], depth: int
) -> dict[str, list[SearchHit]]:
    """Each ranking with its first passages judged; of the default, also other weights and depths."""
    found: dict[str, list[SearchHit]] = {}
    for name, hits in rankings.items():
        scores = await judge.score(question, [hit.chunk.embedded_text for hit in hits[:depth]])
        found[f"{name} + rerank"] = rerank(hits, scores, RetrievalSettings().rerank_weight)
        if name.startswith("adaptive"):
            for weight in WEIGHTS:
                found[f"{name} + {depth} x {weight}"] = rerank(hits, scores, weight)
            for fewer in (each for each in DEPTHS if each < depth):
                found[f"{name} + {fewer} x {RetrievalSettings().rerank_weight}"] = rerank(
                    hits, scores[:fewer], RetrievalSettings().rerank_weight
                )
    return found


def print_tables(means: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """For each metric one row a method, one column a dataset, and the mean."""
    for at, metric in enumerate(METRICS):
        print(f"\n| {metric} | {' | '.join(means)} | mean |")
        print("| --- |" + " --: |" * (len(means) + 1))
        for name in next(iter(means.values())):
            scores = [each[name][at] for each in means.values()]
            cells = [f"{score:.3f}".lstrip("0") for score in [*scores, sum(scores) / len(scores)]]
            print(f"| {name} | {' | '.join(cells)} |")


async def run(settings: Settings, folders: Sequence[Path], plan: Plan) -> None:
    """Measure every dataset, printing a line as soon as one is done."""
    reranker = await open_reranker(settings) if plan.depth else None
    kept = plan.cache.expanduser() / f"judged-{settings.retrieval.reranker.replace('/', '-')}.jsonl"
    judge = Judgements(reranker, kept) if reranker else None
    means: dict[str, dict[str, list[float]]] = {}
    try:
        for folder in folders:
            dataset = read_dataset(folder)
            async with open_index(settings, dataset, plan.cache) as index:
                rankings = await rank(index, dataset, plan, judge)
            asked = {query: dataset.qrels[query] for query in next(iter(rankings.values()))}
            scores = {name: evaluate(found, asked, METRICS) for name, found in rankings.items()}
            means[dataset.name] = {name: [mean(each[metric]) for metric in METRICS] for name, each in scores.items()}
            print(f"{dataset.name}: {len(asked)} questions, {index.chunks} passages", flush=True)
    finally:
        if reranker:
            await reranker.close()
    print_tables(means)


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="Quality of fusion and reranking.")
    parser.add_argument("--data", type=Path, required=True, help="folder of datasets in BEIR layout")
    parser.add_argument("--sets", nargs="*", help="their names; all without any")
    parser.add_argument("--queries", type=int, default=100, help="of each dataset at most")
    parser.add_argument("--depth", type=int, default=0, help="passages that the cross-encoder judges; 0 leaves it out")
    parser.add_argument("--model", help="embedder, as QUOTH_EMBEDDER__MODEL")
    parser.add_argument("--cache", type=Path, default=CACHE)
    arguments = parser.parse_args()
    chosen = {"embedder": {"model": arguments.model}} if arguments.model else {}
    settings = load_settings({**chosen, "retrieval": {"rerank": "on" if arguments.depth else "off"}})
    folders = [find_dataset(name, arguments.data) for name in arguments.sets or list_datasets(arguments.data)]
    plan = Plan(arguments.queries, arguments.depth, settings.retrieval.candidates, arguments.cache)
    asyncio.run(run(settings, folders, plan))


if __name__ == "__main__":
    main()
