"""Quality and speed of search by words: our encoder beside Qdrant Edge's own `Bm25` and the library bm25s.

    python -m benchmarks.sparse --data DIR --sets cranfield cacm xquad/de

DIR holds one folder for each set in BEIR layout. Search is exact, with the IDF that Qdrant adds. The others are told
the language of each set (`xquad/de` is German, what names none is English) and take that language's stemmer and stop
words; ours tells it from the texts. `Bm25` runs as it comes, and with our constants; bm25s runs with our k1 and b.
Prints nDCG@10 of each set and, over texts of all sets, MB/s of passages and milliseconds of a question, by new
encoders that have seen no word before; medians of three runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import bm25s
import numpy as np
import qdrant_edge as edge
import snowballstemmer
from numpy.typing import NDArray

from benchmarks.retrieval_quality import Collection, WordIndex, best, read_collection
from evals.metrics import evaluate, mean
from rag import bm25
from rag.bm25 import BM25Encoder
from rag.documents import SparseVector
from rag.protocols import SparseEncoder

LANGUAGES = {"de": "german", "es": "spanish"}
RUNS = 3
TIMED = 2000  # passages and questions, evenly spaced over all sets

Scorer = Callable[[str], NDArray[np.floating]]


class EdgeEncoder:
    """`qdrant_edge.Bm25` as a SparseEncoder."""

    fingerprint = "qdrant_edge.Bm25"

    def __init__(self, language: str, *, tuned: bool) -> None:
        """Args: `tuned` takes our constants, otherwise its own: k 1.2, b 0.75, 256 words."""
        ours = {"k": bm25.K1, "b": bm25.B, "avg_len": float(bm25.AVERAGE_WORDS)} if tuned else {}
        self._bm25 = edge.Bm25(edge.Bm25Config(language=language, **ours))

    def encode_passage(self, text: str) -> SparseVector:
        """As it makes them of documents."""
        return _summed(self._bm25.embed_document(text))

    def encode_query(self, text: str) -> SparseVector:
        """As it makes them of queries."""
        return _summed(self._bm25.embed_query(text))


def _summed(vector: edge.SparseVector) -> SparseVector:
    weights = dict.fromkeys(vector.indices, 0.0)
    for index, value in zip(vector.indices, vector.values, strict=True):
        weights[index] += value
    return SparseVector(tuple(weights), tuple(weights.values()))


def bm25s_scorer(texts: list[str], language: str) -> Scorer:
    """bm25s with its own tokenizer and stop words, and Snowball's stemmer, which it recommends."""
    options = {"stopwords": language, "stemmer": snowballstemmer.stemmer(language), "show_progress": False}
    index = bm25s.BM25(k1=bm25.K1, b=bm25.B, method="lucene")
    index.index(bm25s.tokenize(texts, **options), show_progress=False)

    def score(question: str) -> NDArray[np.floating]:
        tokens = bm25s.tokenize([question], return_ids=False, **options)[0]
        known = [token for token in tokens if token in index.vocab_dict]
        return index.get_scores(known) if known else np.zeros(len(texts))

    return score


def ndcg(collection: Collection, score: Scorer) -> float:
    """nDCG@10 of a ranking by these scores, over all judged queries."""
    ids = list(collection.documents)
    run = {
        query: {id_: value for id_, value in best(score(text), ids, 10) if value > 0}
        for query, text in collection.queries.items()
    }
    return mean(evaluate(run, collection.qrels, ["ndcg@10"])["ndcg@10"])


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians of new encoders, so that nothing is cached at first."""

    megabytes_per_second: float
    milliseconds_per_question: float


def speed(make: Callable[[], SparseEncoder], passages: Sequence[str], asked: Sequence[str]) -> Speed:
    """How fast an encoder encodes."""
    size = sum(len(text.encode()) for text in passages) / 1e6
    rates, times = [], []
    for _ in range(RUNS):
        encoder = make()
        begin = time.perf_counter()
        for text in asked:
            encoder.encode_query(text)
        middle = time.perf_counter()
        for text in passages:
            encoder.encode_passage(text)
        rates.append(size / (time.perf_counter() - middle))
        times.append((middle - begin) * 1e3 / len(asked))
    return Speed(statistics.median(rates), statistics.median(times))


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="Search by words, beside what others make of it.")
    parser.add_argument("--data", type=Path, required=True, help="folder of sets in BEIR layout")
    parser.add_argument("--sets", nargs="+", default=["cranfield", "cacm", "xquad/de", "xquad/es"])
    parser.add_argument("--queries", type=int, default=1000, help="of each set at most")
    arguments = parser.parse_args()
    systems: dict[str, Callable[[str], SparseEncoder]] = {
        "Quoth": lambda _: BM25Encoder(),
        "Edge Bm25": lambda language: EdgeEncoder(language, tuned=False),
        "Edge Bm25, our constants": lambda language: EdgeEncoder(language, tuned=True),
    }
    print(f"| nDCG@10 | {' | '.join([*systems, 'bm25s'])} |\n| --- |{' --: |' * (len(systems) + 1)}")
    rows: list[list[float]] = []
    passages: list[str] = []
    questions: list[str] = []
    for name in arguments.sets:
        collection = read_collection(arguments.data / name, arguments.queries)
        texts, language = list(collection.documents.values()), LANGUAGES.get(Path(name).name, "english")
        passages += texts
        questions += collection.queries.values()
        scorers = [WordIndex(make(language), texts).scores for make in systems.values()]
        rows.append([ndcg(collection, score) for score in [*scorers, bm25s_scorer(texts, language)]])
        print(f"| {name} | {' | '.join(f'{score:.4f}' for score in rows[-1])} |", flush=True)
    print(f"| mean | {' | '.join(f'{score:.4f}' for score in np.mean(rows, axis=0))} |\n")
    timed = [texts[:: max(1, len(texts) // TIMED)] for texts in (passages, questions)]
    for label, make in systems.items():
        found = speed(partial(make, "english"), *timed)
        print(f"{label}: {found.megabytes_per_second:.2f} MB/s, {found.milliseconds_per_question:.3f} ms a question")


if __name__ == "__main__":
    main()
