"""The reranker's judgement in the order of hits, and when it is asked."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from ingest.pipeline import Ingestor
from rag.documents import Chunk, Scores, SearchHit
from rag.reranking import is_close, rerank
from rag.retrieval import RERANKED, Retriever
from rag.settings import RetrievalSettings
from tests.fakes import fake_engine


def hit(name: str, fused: float) -> SearchHit:
    chunk = Chunk(name, "d", "g", 0, name, 0, len(name))
    return SearchHit("s", chunk, "t", "file:///t", fused, Scores(fused=fused))


HITS = [hit("a", 0.9), hit("b", 0.8), hit("c", 0.5), hit("d", 0.4)]


def names(hits: Sequence[SearchHit]) -> str:
    return "".join(each.chunk.id for each in hits)


def test_the_weight_decides_how_much_the_reranker_may_turn_around() -> None:
    judged = [0.001, 0.999, 0.5]
    assert names(rerank(HITS, judged, 0)) == "abcd"
    assert names(rerank(HITS, judged, 1)) == "bcad"
    half = rerank(HITS, judged, 0.5)
    assert names(half) == "bcad"
    assert half[0].score == pytest.approx(0.5 * 1 + 0.5 * 0.8)
    assert [each.scores.rerank for each in half] == [0.999, 0.5, 0.001, None]


def test_what_was_not_judged_keeps_its_fused_share() -> None:
    assert names(rerank(HITS, [0.9], 0.5)) == "abcd"
    assert names(rerank(HITS, [], 0.5)) == "abcd"
    assert names(rerank(HITS, [0.2, 0.2, 0.2, 0.2], 0.5)) == "abcd"
    assert names(rerank(HITS, [1.0, 0.0], 0.5)) == "abcd"


def test_a_lead_is_not_close() -> None:
    assert is_close(HITS, 2)
    assert not is_close([hit("a", 0.9), hit("b", 0.3), hit("c", 0.1)], 2)
    assert is_close([hit("a", 0.9), hit("b", 0.3), hit("c", 0.29)], 2)
    assert not is_close([hit("a", 0.9)], 2)


class WordCounter:
    """Relevance is how often a passage says a word; tells what it was asked."""

    def __init__(self, word: str) -> None:
        self._word = word
        self.asked: list[tuple[int, float | None]] = []

    async def score(self, question: str, passages: Sequence[str], budget_ms: float | None = None) -> list[float]:
        self.asked.append((len(passages), budget_ms))
        return [1 - 1 / (2 + passage.count(self._word)) for passage in passages[:20]]

    async def close(self) -> None:
        """Nothing is held."""


def test_the_retriever_asks_the_reranker_for_more_than_it_returns(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(12):
        (docs / f"{number}.md").write_text(f"# Note {number}\n\nThe pump is {'noisy ' * number}today.\n")
    with fake_engine(tmp_path / "data") as engine:
        asyncio.run(Ingestor(engine).run([docs], "default"))
        judge = WordCounter("noisy")

        def found(mode: str) -> list[SearchHit]:
            settings = RetrievalSettings(rerank=mode, rerank_weight=1, k=3, rerank_budget_ms=70)  # type: ignore[arg-type]
            parts = engine.stores, engine.documents, engine.vectors, engine.embedder, engine.sparse
            retriever = Retriever(*parts, settings, judge)
            return list(asyncio.run(retriever.search("default", "pump today")).hits)

        on = found("on")
        assert [each.uri.rsplit("/", 1)[1] for each in on] == ["9.md", "8.md", "7.md"]
        assert judge.asked == [(RERANKED, 70)]
        assert all(each.scores.rerank for each in on)
        found("auto")
        assert len(judge.asked) == 2
        plain = asyncio.run(engine.retriever.search("default", "pump today", k=3))
        assert "rerank" not in plain.milliseconds
