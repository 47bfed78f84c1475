"""The Retriever: one list or both, fused as configured, and as many visible passages as are asked for."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from evals.indexing import build_index, uri_of
from evals.records import CorpusDocument, Dataset
from rag.documents import Candidate, Scores
from rag.errors import ConfigurationError, InvalidInputError, StorageUnavailableError
from rag.fusion import distribution_based, fuse, reciprocal_rank
from rag.ledger.stores import Store, Stores
from rag.protocols import CandidateLists
from rag.retrieval import Retriever
from rag.searching import SearchOptions
from rag.settings import RetrievalSettings, load_settings
from tests.fakes import fake_engine

DENSE = tuple(Candidate(name, name, "g", Scores(dense=score)) for name, score in (("a", 0.9), ("b", 0.5), ("c", 0.1)))
SPARSE = tuple(Candidate(name, name, "g", Scores(sparse=score)) for name, score in (("d", 7.0), ("b", 5.0)))
LISTS = CandidateLists(DENSE, SPARSE)


def ids(settings: RetrievalSettings) -> list[str]:
    return [candidate.chunk_id for candidate in fuse(LISTS, settings)]


def test_one_list_keeps_its_order() -> None:
    assert ids(RetrievalSettings(fusion="dense")) == ["a", "b", "c"]
    assert ids(RetrievalSettings(fusion="sparse")) == ["d", "b"]


def test_both_lists_are_fused_as_configured() -> None:
    assert ids(RetrievalSettings(dense_weight=1)) == ["a", "b", "c", "d"]
    assert fuse(LISTS, RetrievalSettings(fusion="rrf")) == reciprocal_rank(DENSE, SPARSE)
    assert fuse(LISTS, RetrievalSettings(fusion="dbsf")) == distribution_based(DENSE, SPARSE)
    assert ids(RetrievalSettings(fusion="rrf"))[0] == "b"


def test_every_fusion_scores_within_0_and_1() -> None:
    for fusion in ("adaptive", "sum", "rrf", "dbsf", "dense", "sparse"):
        for candidate in fuse(LISTS, RetrievalSettings(fusion=fusion)):
            assert 0 <= (candidate.scores.fused or 0) <= 1


def test_an_unknown_fusion_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"retrieval\.fusion"):
        load_settings({"retrieval": {"fusion": "product"}})


class FixedReranker:
    """Thinks the later of two the better."""

    model = "fixed"

    async def score(self, question: str, passages: Sequence[str], budget_ms: float | None = None) -> list[float]:
        return [float(number) for number in range(len(passages))]

    async def close(self) -> None:
        """Nothing is held."""


class WriteProtectedStores(Stores):
    """A ledger on a disk that is full."""

    def touch(self, store: Store, now: float) -> None:
        raise StorageUnavailableError("The disk is full.")


def test_a_request_may_weigh_the_lists_and_leave_the_reranker_out(tmp_path: Path) -> None:
    texts = {"a": "trains trains trains", "b": "trains and meals", "c": "other words"}
    (tmp_path / "corpus.jsonl").touch()
    documents = {name: CorpusDocument(name, "", text) for name, text in texts.items()}
    dataset = Dataset("tiny", tmp_path, "ab", documents, {}, {})

    async def search() -> None:
        with fake_engine(tmp_path / "data") as engine:
            name = (await build_index(engine, dataset)).store
            settings = RetrievalSettings(fusion="sum", rerank="on", rerank_weight=1, dense_weight=0.25)
            parts = engine.stores, engine.documents, engine.vectors, engine.embedder, engine.sparse
            plain, reranking = Retriever(*parts, settings), Retriever(*parts, settings, FixedReranker())
            as_set, by_words = [
                (await plain.search(name, "trains meals", dense_weight=weight)).hits for weight in (None, 0.0)
            ]
            assert by_words == (await plain.search(name, "trains meals", dense_weight=0)).hits != as_set
            assert as_set == (await plain.search(name, "trains meals", dense_weight=0.25)).hits
            narrow = Retriever(*parts, RetrievalSettings(fusion="sparse"))
            assert (await narrow.search(name, "trains meals", dense_weight=0.25)).hits == as_set
            best = [hit.scores.rerank for hit in (await reranking.search(name, "trains meals")).hits]
            assert None not in best
            assert (await reranking.search(name, "trains meals", reranked=False)).hits == as_set

    asyncio.run(search())


def test_a_use_that_cannot_be_noted_keeps_nobody_from_searching(tmp_path: Path) -> None:
    async def search() -> None:
        with fake_engine(tmp_path) as engine:
            await engine.open_store("s")
            stores = WriteProtectedStores(engine.stores._engine)
            settings = engine.settings.retrieval
            retriever = Retriever(stores, engine.documents, engine.vectors, engine.embedder, engine.sparse, settings)
            assert (await retriever.search("s", "trains")).hits == ()

    asyncio.run(search())


def test_passages_that_are_not_visible_make_room_for_the_next(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").touch()
    documents = {f"d{n}": CorpusDocument(f"d{n}", "", f"trains {n}") for n in range(9)}
    dataset = Dataset("tiny", tmp_path, "ab", documents, {"q": "trains"}, {"q": {"d0": 1}})
    with fake_engine(tmp_path / "data") as engine:
        index = asyncio.run(build_index(engine, dataset))
        before = asyncio.run(engine.retriever.search(index.store, "trains 3", k=9)).hits
        store = engine.stores.get(index.store)
        engine.documents.retire(store.id, [before[0].chunk.document_id, before[2].chunk.document_id])
        after = asyncio.run(engine.retriever.search(index.store, "trains 3", k=3)).hits
        rest = asyncio.run(engine.retriever.search(index.store, "trains 3", k=9)).hits
    assert [hit.chunk.id for hit in after] == [before[place].chunk.id for place in (1, 3, 4)]
    assert len(rest) == 7


def test_repeated_words_make_room_for_the_next_and_options_are_checked(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").touch()
    texts = {"a": "trains run", "b": "trains run", "c": "trains", "d": "meals", "e": "trains run"}
    dataset = Dataset(
        "tiny", tmp_path, "ab", {name: CorpusDocument(name, "", text) for name, text in texts.items()}, {}, {}
    )
    with fake_engine(tmp_path / "data") as engine:
        index = asyncio.run(build_index(engine, dataset))
        found = asyncio.run(engine.retriever.search(index.store, "trains run", k=2))
        assert [hit.chunk.text for hit in found.hits] == ["trains run", "trains"]
        copies = found.copies[found.hits[0].chunk.id]
        assert {hit.uri for hit in (found.hits[0], *copies)} == {uri_of(dataset, name) for name in "abe"}
        assert len(asyncio.run(engine.retriever.search(index.store, "trains run", k=9)).hits) == 3
        wrong: tuple[SearchOptions, ...] = ({"per_document": -1}, {"diversity": 2.0}, {"expand_tokens": -1})
        for options in wrong:
            with pytest.raises(InvalidInputError, match="must"):
                asyncio.run(engine.retriever.search(index.store, "trains", **options))


def test_words_alone_find_only_what_shares_a_word(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").touch()
    documents = {name: CorpusDocument(name, "", f"{name} only") for name in ("trains", "flights")}
    dataset = Dataset("tiny", tmp_path, "ab", documents, {"q": "trains"}, {"q": {"trains": 1}})
    with fake_engine(tmp_path / "data") as engine:
        index = asyncio.run(build_index(engine, dataset))
        found = {}
        for fusion in ("sparse", "dense", "sum"):
            retriever = Retriever(
                engine.stores, engine.documents, engine.vectors, engine.embedder, engine.sparse,
                RetrievalSettings(fusion=fusion),
            )  # fmt: skip
            found[fusion] = asyncio.run(retriever.search(index.store, "trains")).hits
    assert [index.documents[hit.chunk.document_id] for hit in found["sparse"]] == ["trains"]
    assert found["sparse"][0].scores.dense is None
    assert len(found["dense"]) == len(found["sum"]) == 2
    assert all(hit.scores.sparse is None for hit in found["dense"])
