"""From a tiny dataset, through the Retriever, to known scores."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evals.datasets import read_dataset
from evals.indexing import Index, build_index
from evals.records import Dataset, EvalResult
from evals.results import from_json, to_json
from evals.retrieval import METRICS, SPAN_METRICS, Options, as_json, evaluate_retrieval, passages_for
from evals.systems import System
from rag.backends.vectors.memory import MemoryChunkStore
from rag.errors import InvalidInputError, StorageError
from rag.settings import Settings, load_settings
from tests.fakes import DIMENSION, BagOfWordsEmbedder, fake_engine

DOCUMENTS = {
    "trains": "Trains are booked in second class.",
    "flights": "Flights need the consent of a manager.",
    "leave": "Annual leave is 28 days a year.",
    "seal": "The shaft seal is replaced every 2000 hours.",
}


class CountingEmbedder(BagOfWordsEmbedder):
    """Counts the questions that it embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        self.asked += 1
        return await super().embed_query(text)


def write_set(folder: Path, queries: dict[str, str], qrels: list[tuple[str, str, int]], **answers: Any) -> Dataset:
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": identity, "title": "", "text": text} for identity, text in DOCUMENTS.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"_id": identity, "text": text} for identity, text in queries.items()]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = "".join(f"{query}\t{document}\t{grade}\n" for query, document, grade in qrels)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    return read_dataset(folder)


def system(name: str = "default", **retrieval: Any) -> System:
    return System(name, load_settings({"retrieval": retrieval}))


def opener(folder: Path, embedder: BagOfWordsEmbedder) -> Callable[..., Any]:
    """Opens indexes over the fake engine; each keeps its ledger, and its points as long as this function lives."""
    points = MemoryChunkStore(DIMENSION)

    @asynccontextmanager
    async def opened(settings: Settings, dataset: Dataset, cache: Path, on_progress: Any) -> AsyncIterator[Index]:
        with fake_engine(folder, embedder, points) as engine:
            yield await build_index(engine, dataset, on_progress)

    return opened


def evaluate(
    dataset: Dataset, tmp_path: Path, *systems: System, embedder: BagOfWordsEmbedder | None = None, **options: Any
) -> EvalResult:
    chosen = Options(cache=tmp_path / "cache", command="test", **{"timed": 0, **options})
    opened = opener(tmp_path / "data", embedder or BagOfWordsEmbedder())
    return asyncio.run(evaluate_retrieval(dataset, systems or (system(),), chosen, opened=opened))


def test_known_rankings_have_known_scores(tmp_path: Path) -> None:
    queries = {"first": "Trains in second class?", "second": "consent of a manager for trains in second class"}
    dataset = write_set(tmp_path / "set", queries, [("first", "trains", 1), ("second", "flights", 1)])
    (found,) = evaluate(dataset, tmp_path, system(fusion="sparse")).systems
    ranked = sorted(found.run["second"], key=lambda document: -found.run["second"][document])
    assert set(ranked[:2]) == {"trains", "flights"}
    place = ranked.index("flights") + 1
    assert found.per_query["mrr@10"] == {"first": 1.0, "second": 1 / place}
    assert found.per_query["ndcg@10"]["second"] == pytest.approx(1 / np.log2(place + 1))
    assert found.metrics["mrr@10"] == pytest.approx((1 + 1 / place) / 2)
    assert found.metrics["recall@100"] == 1.0
    assert tuple(found.metrics) == METRICS
    low, high = found.intervals["mrr@10"]
    assert low <= found.metrics["mrr@10"] <= high


def test_a_question_that_finds_nothing_counts_zero(tmp_path: Path) -> None:
    queries = {"found": "Trains in second class?", "lost": "zebras", "unjudged": "leave"}
    dataset = write_set(tmp_path / "set", queries, [("found", "trains", 1), ("lost", "leave", 1)])
    result = evaluate(dataset, tmp_path, system(fusion="sparse"))
    (found,) = result.systems
    assert result.queries == 2
    assert found.run["lost"] == {}
    assert found.per_query["ndcg@10"] == {"found": 1.0, "lost": 0.0}
    assert found.metrics["ndcg@10"] == 0.5
    assert "unjudged" not in found.run


def test_the_order_is_that_of_the_retriever(tmp_path: Path) -> None:
    dataset = write_set(tmp_path / "set", {"q": "manager of trains"}, [("q", "trains", 1)])
    embedder = BagOfWordsEmbedder()
    opened = opener(tmp_path / "data", embedder)
    chosen = Options(cache=tmp_path / "cache", timed=0)
    result = asyncio.run(evaluate_retrieval(dataset, [system()], chosen, opened=opened))

    async def search() -> list[str]:
        async with opened(load_settings(), dataset, tmp_path, lambda *_: None) as index:
            hits = (await index.engine.retriever.search(index.store, "manager of trains", k=100)).hits
            return [index.documents[hit.chunk.document_id] for hit in hits]

    scores = result.systems[0].run["q"]
    assert list(scores) == asyncio.run(search())
    assert sorted(scores.values(), reverse=True) == list(scores.values())
    assert len(set(np.array(list(scores.values()), np.float32))) == len(scores) == len(DOCUMENTS)


def test_a_second_run_embeds_nothing_and_says_the_same(tmp_path: Path) -> None:
    queries = {"a": "Trains in second class?", "b": "annual leave"}
    dataset = write_set(tmp_path / "set", queries, [("a", "trains", 1), ("b", "leave", 1)])
    embedder = CountingEmbedder()
    opened = opener(tmp_path / "data", embedder)
    runs = []
    for is_fresh in (False, True, False):
        chosen = Options(cache=tmp_path / "cache", timed=0, is_fresh=is_fresh)
        runs.append(asyncio.run(evaluate_retrieval(dataset, [system()], chosen, opened=opened)))
    assert (embedder.embedded, embedder.asked) == (len(DOCUMENTS), 2)
    assert [list(run.provenance["kept"]) for run in runs] == [[], [], ["default"]]
    assert runs[0].systems[0].metrics == runs[1].systems[0].metrics
    assert runs[1].systems[0].run == runs[2].systems[0].run


def test_what_is_kept_depends_on_the_settings(tmp_path: Path) -> None:
    dataset = write_set(tmp_path / "set", {"q": "trains"}, [("q", "trains", 1)])
    opened = opener(tmp_path / "data", BagOfWordsEmbedder())
    kept = []
    for each in (system(), system(dense_weight=0.4), system()):
        chosen = Options(cache=tmp_path / "cache", timed=0)
        asked = evaluate_retrieval(dataset, [each], chosen, opened=opened)
        kept.append(list(asyncio.run(asked).provenance["kept"]))
    assert kept == [[], [], ["default"]]


def test_damaged_vectors_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    dataset = write_set(tmp_path / "set", {"q": "trains"}, [("q", "trains", 1)])
    opened = opener(tmp_path / "data", BagOfWordsEmbedder())
    chosen = Options(cache=tmp_path / "cache", timed=0, is_fresh=True)
    asyncio.run(evaluate_retrieval(dataset, [system()], chosen, opened=opened))
    (stored,) = (tmp_path / "cache" / "queries").glob("*.npz")
    stored.write_bytes(b"torn")
    with pytest.raises(StorageError, match=re.escape(stored.name)):
        asyncio.run(evaluate_retrieval(dataset, [system()], chosen, opened=opened))


def test_systems_are_compared_on_the_same_questions(tmp_path: Path) -> None:
    queries = {"a": "Trains in second class?", "b": "zebras and leave", "c": "seal"}
    dataset = write_set(tmp_path / "set", queries, [("a", "trains", 1), ("b", "leave", 1), ("c", "seal", 1)])
    systems = [system(), system("words", fusion="sparse"), system("ranks", fusion="rrf")]
    result = evaluate(dataset, tmp_path, *systems)
    assert [each.name for each in result.systems] == ["default", "words", "ranks"]
    pairs = [(each.a, each.b) for each in result.comparisons if each.metric == "ndcg@10"]
    assert pairs == [("default", "words"), ("default", "ranks"), ("words", "ranks")]
    assert {each.metric for each in result.comparisons} == set(METRICS)
    assert result.systems[1].settings == {"retrieval": {"fusion": "sparse"}}


def test_words_alone_need_no_vector_of_the_question(tmp_path: Path) -> None:
    dataset = write_set(tmp_path / "set", {"q": "trains"}, [("q", "trains", 1)])
    embedder = CountingEmbedder()
    evaluate(dataset, tmp_path, system(fusion="sparse"), embedder=embedder, timed=5)
    assert embedder.asked == 0


def test_every_timed_question_is_embedded(tmp_path: Path) -> None:
    queries = {f"q{number}": f"trains {number}" for number in range(5)}
    dataset = write_set(tmp_path / "set", queries, [(query, "trains", 1) for query in queries])
    embedder = CountingEmbedder()
    (found,) = evaluate(dataset, tmp_path, embedder=embedder, timed=5).systems
    assert found.latency_ms["queries"] == 5
    assert 0 < found.latency_ms["p50"] <= found.latency_ms["p95"] <= found.latency_ms["p99"]
    assert embedder.asked == 5 + 5 + 3  # timed, asked, and to warm up


def test_passages_are_measured_where_they_are_known(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "documents").mkdir(parents=True)
    (own / "documents" / "travel.txt").write_text("Trains are booked in second class.")
    (own / "documents" / "leave.txt").write_text("Annual leave is 28 days.")
    case = {"id": "q", "question": "Which class for trains?", "passages": ["second class"]}
    (own / "questions.jsonl").write_text(json.dumps(case) + "\n")
    dataset = read_dataset(own)
    (found,) = evaluate(dataset, tmp_path, system(k=1)).systems
    assert tuple(found.metrics) == (*METRICS, *SPAN_METRICS)
    assert found.metrics["span_recall"] == 1.0
    assert found.metrics["span_precision"] == pytest.approx(
        len("second class") / len(dataset.documents["travel.txt"].text)
    )
    assert found.metrics["span_precision"] == found.metrics["span_iou"]


def test_enough_passages_are_asked_for(tmp_path: Path) -> None:
    dataset = write_set(tmp_path / "set", {"q": "trains"}, [("q", "trains", 1)])
    with fake_engine(tmp_path / "data") as engine:
        index = asyncio.run(build_index(engine, dataset))
        many = Index(engine, index.store, {str(n): str(n) for n in range(1000)}, 2500, 0, 0)
        settings = load_settings()
        assert passages_for(index, settings) == settings.retrieval.candidates
        assert passages_for(many, settings) == 250


def test_what_is_printed_is_the_agreed_object(tmp_path: Path) -> None:
    dataset = write_set(tmp_path / "set", {"q": "trains"}, [("q", "trains", 1)])
    result = evaluate(dataset, tmp_path, timed=1)
    found = json.loads(json.dumps(as_json(result)))
    assert list(found)[:2] == ["dataset", "dataset_sha256"]
    assert found["queries"] == 1
    (printed,) = found["systems"]
    assert printed["name"] == "default"
    assert printed["metrics"]["ndcg@10"] == 1.0
    assert len(printed["intervals"]["ndcg@10"]) == 2
    assert {"p50", "p95"} <= set(printed["latency_ms"])
    assert {"commit", "versions", "machine", "seed", "command", "time"} <= set(found["provenance"])
    assert from_json(json.loads(json.dumps(to_json(result)))) == result


def test_an_unknown_metric_is_refused_before_anything_is_indexed(tmp_path: Path) -> None:
    dataset = write_set(tmp_path / "set", {"q": "trains"}, [("q", "trains", 1)])
    embedder = CountingEmbedder()
    with pytest.raises(InvalidInputError, match="ndgc@10"):
        evaluate(dataset, tmp_path, embedder=embedder, metrics=("ndgc@10",))
    assert embedder.embedded == 0


def test_a_set_without_a_relevant_document_is_refused(tmp_path: Path) -> None:
    dataset = write_set(tmp_path / "set", {"q": "trains"}, [("q", "trains", 0)])
    with pytest.raises(InvalidInputError, match="relevant"):
        evaluate(dataset, tmp_path)
