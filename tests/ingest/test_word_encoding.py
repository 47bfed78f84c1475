"""A store whose words were encoded by another encoder: the doctor says so, and a run encodes them anew."""

import asyncio
from dataclasses import replace
from pathlib import Path

from ingest.doctor import Doctor
from ingest.pipeline import Ingestor
from rag.bm25 import BM25Encoder
from rag.retrieval import Retriever
from tests.fakes import BagOfWordsEmbedder, fake_engine

TEXT = "Contracts end after three months.\n"


def test_words_are_encoded_anew_without_embedding_anything(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text(TEXT)
    embedder = BagOfWordsEmbedder()
    with fake_engine(tmp_path / "data", embedder) as engine:
        other = replace(engine, sparse=BM25Encoder("finnish"))
        asyncio.run(Ingestor(other).run([docs], "default"))
        embedded = embedder.embedded
        # What the encoders make of it differs, so that a question by one misses passages by the other.
        assert not set(engine.sparse.encode_query("contract").indices) & set(
            other.sparse.encode_passage("Contracts").indices
        )
        examined = asyncio.run(Doctor(engine).examine("default"))
        assert [finding.uri for finding in examined.findings] == [(docs / "a.txt").as_uri()]

        again = asyncio.run(Ingestor(engine).run([docs], "default"))
        assert (again.indexed, again.unchanged, embedder.embedded) == (1, 0, embedded)
        assert asyncio.run(Doctor(engine).examine("default")).is_healthy
        settings = engine.settings.retrieval.model_copy(update={"fusion": "sparse"})
        by_words = Retriever(engine.stores, engine.documents, engine.vectors, engine.embedder, engine.sparse, settings)
        assert len(asyncio.run(by_words.search("default", "contract")).hits) == 1
