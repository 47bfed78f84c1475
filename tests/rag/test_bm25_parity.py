"""BM25 scores and rankings beside bm25s, and the same over every store."""

import asyncio
import uuid
from pathlib import Path

import bm25s
import numpy as np
import pytest

from benchmarks.retrieval_quality import WordIndex, read_collection
from benchmarks.sparse import bm25s_scorer, ndcg
from rag import bm25
from rag.backends.vectors.memory import MemoryChunkStore
from rag.backends.vectors.qdrant_edge import EdgeChunkStore, stop_worker
from rag.bm25 import BM25Encoder
from rag.documents import Point
from rag.protocols import ChunkStore

ENCODER = BM25Encoder()
DIMENSION = 4
TEXTS = [
    "Trains are booked in second class, and trains only.",
    "Flights need the consent of a manager.",
    "A manager books trains.",
    "Lunch is paid by the company on days of travel by train or by air.",
]
QUESTION = "Which trains may a manager book, and which other trains?"
OTHER_TEXTS = [
    *TEXTS,
    "Die Züge werden in der zweiten Klasse gebucht, und das ist auch für einen Leiter nicht anders.",
    "火车只能订二等座。",
    "기차는 이등석만 예약한다.",
    "Поезда были заказаны во втором классе.",
]


def chunk(row: int) -> str:
    return str(uuid.UUID(int=row + 1))


async def scores(store: ChunkStore, texts: list[str], questions: list[str]) -> list[list[float]]:
    """The score of every text for each question, 0 where it is not found."""
    dense = np.ones(DIMENSION, np.float32)
    points = [Point(chunk(row), "d", "g", dense, ENCODER.encode_passage(text)) for row, text in enumerate(texts)]
    await store.upsert("s", points)
    found = []
    for question in questions:
        hits = (await store.search("s", None, ENCODER.encode_query(question), len(texts))).sparse
        by_chunk = {hit.chunk_id: hit.scores.sparse or 0.0 for hit in hits}
        found.append([by_chunk.get(chunk(row), 0.0) for row in range(len(texts))])
    await store.close()
    return found


def over_both(folder: Path, texts: list[str], questions: list[str]) -> tuple[list[list[float]], list[list[float]]]:
    memory = asyncio.run(scores(MemoryChunkStore(DIMENSION), texts, questions))
    try:
        edge = asyncio.run(scores(EdgeChunkStore(folder, "c", DIMENSION, idle_seconds=1), texts, questions))
    finally:
        stop_worker(folder)
    return memory, edge


def test_scores_over_both_stores_equal_those_of_bm25s(tmp_path: Path) -> None:
    # bm25s normalises by the corpus's own average length; give it passages whose average is our constant.
    terms = [list(ENCODER.terms(text)) for text in TEXTS]
    filler = "filler " * (bm25.AVERAGE_WORDS * (len(TEXTS) + 1) - sum(map(len, terms)))
    texts = [*TEXTS, filler]
    other = bm25s.BM25(k1=bm25.K1, b=bm25.B, method="lucene")
    other.index([*terms, filler.split()], show_progress=False)
    # It leaves the constant factor k1 + 1 out.
    wanted = np.asarray(other.get_scores(list(ENCODER.terms(QUESTION)))) * (bm25.K1 + 1)
    assert np.count_nonzero(wanted) == 4

    memory, edge = over_both(tmp_path, texts, [QUESTION])
    exact = WordIndex(ENCODER, texts).scores(QUESTION)
    for ours in (memory[0], edge[0], exact):
        assert ours == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_both_stores_score_every_language_alike(tmp_path: Path) -> None:
    questions = [QUESTION, "Zug buchen", "火车", "기차", "поезд", "zzz"]
    memory, edge = over_both(tmp_path, OTHER_TEXTS, questions)
    for ours, theirs in zip(memory, edge, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert [int(np.argmax(row)) for row in memory[1:5]] == [4, 5, 6, 7]
    assert not any(memory[5])


SETS = {
    "cranfield": "english", "cacm": "english", "scifact_train": "english", "squad2_dev_half": "english",
    "pubmedqa": "english", "chunking_eval": "english", "musique_train100": "english", "hotpotqa_train100": "english",
    "anthropic_docs": "english", "xquad/en": "english", "xquad/de": "german", "xquad/es": "spanish",
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("name", "language"), SETS.items())
def test_rankings_are_not_worse_than_those_of_bm25s(name: str, language: str, collections: Path) -> None:
    collection = read_collection(collections / "retrieval" / name, 1000)
    texts = list(collection.documents.values())
    ours = ndcg(collection, WordIndex(ENCODER, texts).scores)
    assert ours >= ndcg(collection, bm25s_scorer(texts, language)) - 0.01
