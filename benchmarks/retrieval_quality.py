"""Quality of dense, BM25 and fused retrieval on test collections: what the retrieval settings rest on.

    python -m benchmarks.retrieval_quality --data DIR --sets cranfield cacm --model BAAI/bge-small-en-v1.5

DIR holds one folder for each set in BEIR layout (corpus.jsonl, queries.jsonl, qrels/test.tsv). Each document is one
passage, title and text, cut to what the model reads. Search is exact; each list brings `retrieval.candidates`, as in
the product, and rag.fusion fuses them. Prints nDCG@10 and Recall@100 by pytrec_eval, means over all judged queries (a
query that finds nothing counts 0). Vectors are cached by the embedder's fingerprint and the corpus.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytrec_eval
from numpy.typing import NDArray

from rag.assembly import EMBEDDERS
from rag.bm25 import BM25Encoder
from rag.documents import Candidate, Scores
from rag.fusion import distribution_based, normalised_sum, reciprocal_rank
from rag.protocols import Embedder, SparseEncoder
from rag.settings import load_settings

WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
PASSAGES_AT_ONCE = 512
CACHE = Path("~/.cache/quoth/benchmarks").expanduser()

Vectors = NDArray[np.float32]
Lists = tuple[list[Candidate], list[Candidate]]


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents and queries by id, and the grade of each document that is judged relevant."""

    name: str
    documents: dict[str, str]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def read_collection(folder: Path, max_queries: int) -> Collection:
    """Read a set; of more judged queries than `max_queries`, keep as many, evenly spaced in file order."""
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    documents = {str(row["_id"]): f"{row.get('title', '')}\n{row['text']}".strip() or "-" for row in rows}
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if float(grade) > 0:
            qrels.setdefault(query, {})[document] = int(float(grade))
    rows = [json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    judged = [(str(row["_id"]), row["text"]) for row in rows if str(row["_id"]) in qrels]
    kept = dict(judged[:: max(1, math.ceil(len(judged) / max_queries))])
    return Collection(folder.name, documents, kept, {query: qrels[query] for query in kept})


async def embed(embedder: Embedder, collection: Collection) -> tuple[Vectors, Vectors]:
    """The vectors of documents and queries, from the cache where they are there: (n, dimension) each."""
    key = hashlib.sha256(json.dumps([asdict(embedder.fingerprint), collection.documents, collection.queries]).encode())
    path = CACHE / f"{collection.name}-{key.hexdigest()[:16]}.npz"
    if path.is_file():
        with np.load(path) as stored:
            return stored["documents"], stored["queries"]
    texts = list(collection.documents.values())
    batches = [texts[i : i + PASSAGES_AT_ONCE] for i in range(0, len(texts), PASSAGES_AT_ONCE)]
    documents = np.concatenate([await embedder.embed_passages(batch) for batch in batches])
    queries = np.stack([await embedder.embed_query(text) for text in collection.queries.values()])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, documents=documents, queries=queries)
    return documents, queries


class WordIndex:
    """Exact BM25 over encoded passages, with the IDF that Qdrant adds."""

    def __init__(self, encoder: SparseEncoder, texts: Sequence[str]) -> None:
        """Encode and index the texts."""
        self._encoder = encoder
        self._count = len(texts)
        postings: dict[int, list[tuple[int, float]]] = {}
        for row, text in enumerate(texts):
            vector = encoder.encode_passage(text)
            for term, weight in zip(vector.indices, vector.values, strict=True):
                postings.setdefault(term, []).append((row, weight))
        self._postings = {
            term: (np.array([row for row, _ in entries]), np.array([weight for _, weight in entries]))
            for term, entries in postings.items()
        }

    def scores(self, query: str) -> NDArray[np.float64]:
        """The score of every passage, shape (texts,)."""
        found = np.zeros(self._count)
        vector = self._encoder.encode_query(query)
        for term, weight in zip(vector.indices, vector.values, strict=True):
            if term in self._postings:
                rows, weights = self._postings[term]
                found[rows] += weight * weights * math.log(1 + (self._count - len(rows) + 0.5) / (len(rows) + 0.5))
        return found


def best(scores: NDArray[np.floating], ids: Sequence[str], limit: int) -> list[tuple[str, float]]:
    """The `limit` best ids with their scores, ties by id."""
    rows = np.argsort(-scores, kind="stable")[: limit * 2]
    return sorted(((ids[row], float(scores[row])) for row in rows), key=lambda pair: (-pair[1], pair[0]))[:limit]


def candidates_of(collection: Collection, vectors: tuple[Vectors, Vectors], limit: int) -> dict[str, Lists]:
    """The best `limit` documents of each query by cosine, and by words."""
    ids = list(collection.documents)
    words = WordIndex(BM25Encoder(), list(collection.documents.values()))
    found: dict[str, Lists] = {}
    for (query, text), vector in zip(collection.queries.items(), vectors[1], strict=True):
        dense = [Candidate(id_, id_, "", Scores(dense=s)) for id_, s in best(vectors[0] @ vector, ids, limit)]
        sparse = [Candidate(id_, id_, "", Scores(sparse=s)) for id_, s in best(words.scores(text), ids, limit) if s > 0]
        found[query] = dense, sparse
    return found


def weighted(weight: float, lists: Lists) -> list[Candidate]:
    """`normalised_sum` of a fixed weight."""
    return normalised_sum(lists[0], lists[1], weight)


def methods() -> dict[str, Callable[[Lists], list[Candidate]]]:
    """Every way to make one ranking of the two lists, by name."""
    found: dict[str, Callable[[Lists], list[Candidate]]] = {
        "dense": lambda lists: lists[0],
        "BM25": lambda lists: lists[1],
        **{f"sum {weight}": partial(weighted, weight) for weight in WEIGHTS},
    }
    found["RRF 60"] = lambda lists: reciprocal_rank(*lists)
    found["DBSF"] = lambda lists: distribution_based(*lists)
    return found


def measure(collection: Collection, lists: dict[str, Lists]) -> dict[str, tuple[float, float]]:
    """(nDCG@10, Recall@100) of each method."""
    evaluator = pytrec_eval.RelevanceEvaluator(collection.qrels, {"ndcg_cut.10", "recall.100"})
    found = {}
    for name, fuse in methods().items():
        ranked = {query: fuse(both) for query, both in lists.items()}
        # Only the order counts: pytrec_eval breaks ties of scores by an order of its own.
        run = {
            query: {one.chunk_id: float(len(order) - place) for place, one in enumerate(order)}
            for query, order in ranked.items()
            if order
        }
        judged = evaluator.evaluate(run).values()
        total = len(collection.qrels)
        found[name] = (
            sum(one["ndcg_cut_10"] for one in judged) / total,
            sum(one["recall_100"] for one in judged) / total,
        )
    return found


async def run(arguments: argparse.Namespace) -> dict[str, dict[str, tuple[float, float]]]:
    """Measure every set, printing a line as soon as one is done."""
    settings = load_settings({"embedder": {"model": arguments.model, "backend": arguments.backend}})
    module = import_module(f"rag.backends.embedders.{EMBEDDERS[settings.embedder.backend]}")
    embedder: Embedder = await module.create(settings.embedder, settings.models_dir)
    found = {}
    try:
        for name in arguments.sets:
            collection = read_collection(arguments.data / name, arguments.queries)
            vectors = await embed(embedder, collection)
            lists = candidates_of(collection, vectors, settings.retrieval.candidates)
            found[name] = measure(collection, lists)
            print(f"{name}: {len(collection.documents)} documents, {len(collection.queries)} queries", flush=True)
    finally:
        await embedder.close()
    return found


def print_table(model: str, found: dict[str, dict[str, tuple[float, float]]]) -> None:
    """One row a method, one column a set, nDCG@10 / Recall@100; the last column is the mean of the sets' nDCG@10."""
    print(f"\n{model}\n\n| nDCG@10 / Recall@100 | {' | '.join(found)} | mean nDCG@10 |")
    print("| --- |" + " --: |" * (len(found) + 1))
    for name in methods():
        cells = [f"{one[name][0]:.4f} / {one[name][1]:.3f}" for one in found.values()]
        mean = sum(one[name][0] for one in found.values()) / len(found)
        print(f"| {name} | {' | '.join(cells)} | {mean:.4f} |")


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="Quality of dense, BM25 and fused retrieval.")
    parser.add_argument("--data", type=Path, required=True, help="folder of sets in BEIR layout")
    parser.add_argument("--sets", nargs="+", default=["cranfield", "cacm"])
    parser.add_argument("--model", default="BAAI/bge-small-en-v1.5")
    parser.add_argument("--backend", default="onnx", choices=list(EMBEDDERS))
    parser.add_argument("--queries", type=int, default=1000, help="of each set at most")
    arguments = parser.parse_args()
    print_table(arguments.model, asyncio.run(run(arguments)))


if __name__ == "__main__":
    main()
