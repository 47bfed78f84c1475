"""Searches at their edges: the same hits over every vector store, or the same refusal."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from evals.indexing import build_index
from evals.records import CorpusDocument, Dataset
from rag.assembly import Engine, make_engine, open_engine
from rag.backends.vectors.memory import MemoryChunkStore
from rag.documents import SparseVector
from rag.errors import InvalidInputError, ModelNotFoundError
from rag.filters import And, Eq, Exists, Filter, Not, Or
from rag.ledger.connection import connect
from rag.protocols import CandidateLists, ChunkStore, Embedder
from rag.retrieval import Retriever
from rag.searching import MAX_QUESTION_CHARACTERS, SearchResult
from rag.settings import RetrievalSettings, load_settings
from tests.contract.edge_stores import QUESTIONS, edge_folder, open_store
from tests.fakes import DIMENSION, fake_engine

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")

KINDS = ("memory", "edge", "local")
TEXTS = {
    "trains": "Trains are booked in second class.",
    "flights": "Flights need the consent of a manager.",
    "meals": "Meals on trains are paid by employees.",
    "russian": "Поезда бронируются во втором классе.",
    "japanese": "列車は二等車で予約します。",
    "thai": "ยินดีต้อนรับสู่รถไฟ",
    "emoji": "🚆🚆🚆",
    "stop words": "the of and a",
    "long": "trains " * 300,
    "long word": "x" * 3000,
    **{f"rule {number}": f"Rule {number}: the rules of trains are these." for number in range(40)},
    **{f"again {number}": "The rules of trains are the same everywhere." for number in range(40)},
}
ASKED = QUESTIONS | {"one letter": "x"}
FILTERS: dict[str, Filter] = {
    "matches nothing": Eq("colour", "none"),
    "can match nothing": Or(()),
    "matches everything": Not(Exists("colour")),
    "is empty": And(()),
}
SETTINGS = [
    RetrievalSettings(),
    RetrievalSettings(fusion="sum"),
    RetrievalSettings(fusion="rrf"),
    RetrievalSettings(fusion="dbsf"),
    RetrievalSettings(fusion="dense"),
    RetrievalSettings(fusion="sparse"),
    RetrievalSettings(candidates=1),
    RetrievalSettings(candidates=7),
]

Search = Callable[[Retriever], Awaitable[SearchResult]]


def dataset(folder: Path, name: str, texts: dict[str, str]) -> Dataset:
    (folder / "corpus.jsonl").touch()
    return Dataset(name, folder, "ab", {key: CorpusDocument(key, "", text) for key, text in texts.items()}, {}, {})


class Engines:
    """The same documents in every kind of store."""

    def __init__(self, by_kind: dict[str, Engine], stores: Sequence[str]) -> None:
        self.by_kind = by_kind
        self.stores = stores

    def agreed(self, settings: RetrievalSettings, search: Search) -> SearchResult:
        """What a search finds, which has to be the same in all of them."""
        found = {kind: asyncio.run(search(retriever(engine, settings))) for kind, engine in self.by_kind.items()}
        wanted = found["memory"]
        keys = [(-hit.score, hit.chunk.id) for hit in wanted.hits]
        assert keys == sorted(keys)
        for kind, other in found.items():
            assert [hit.chunk.id for hit in other.hits] == [hit.chunk.id for hit in wanted.hits], kind
            for score in ("fused", "dense", "sparse"):
                assert [getattr(hit.scores, score) for hit in other.hits] == [
                    value if value is None else pytest.approx(value, rel=1e-5, abs=1e-5)
                    for value in (getattr(hit.scores, score) for hit in wanted.hits)
                ], (kind, score)
        return wanted


def retriever(engine: Engine, settings: RetrievalSettings) -> Retriever:
    return Retriever(engine.stores, engine.documents, engine.vectors, engine.embedder, engine.sparse, settings)


def filled(folder: Path, engines: dict[str, Engine]) -> Engines:
    sets = [
        dataset(folder, "rules", TEXTS),
        dataset(folder, "empty", {}),
        dataset(folder, "one", {"trains": TEXTS["trains"]}),
        dataset(folder, "other", {"trains": "Second class is the class of trains.", "again": TEXTS["again 1"]}),
    ]
    names = [[asyncio.run(build_index(engine, each)).store for each in sets] for engine in engines.values()]
    assert all(each == names[0] for each in names)
    return Engines(engines, names[0])


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    folder = tmp_path_factory.mktemp("engines")
    with edge_folder(folder), ExitStack() as stack:
        opened = {
            kind: stack.enter_context(fake_engine(folder / kind, vectors=open_store(kind, folder, DIMENSION)))
            for kind in KINDS
        }
        yield filled(folder, opened)
        for engine in opened.values():
            asyncio.run(engine.vectors.close())


@pytest.mark.parametrize("question", ASKED.values(), ids=ASKED)
def test_every_question_finds_the_same_everywhere(engines: Engines, question: str) -> None:
    every, empty, one, _ = engines.stores
    found = engines.agreed(RetrievalSettings(), lambda found: found.search(every, question, k=10))
    assert len(found.hits) == 10
    assert engines.agreed(RetrievalSettings(), lambda found: found.search(empty, question)).hits == ()
    assert len(engines.agreed(RetrievalSettings(), lambda found: found.search(one, question)).hits) == 1


@pytest.mark.parametrize("settings", SETTINGS, ids=[f"{each.fusion} of {each.candidates}" for each in SETTINGS])
@pytest.mark.parametrize("k", [1, 7, 100])
def test_every_fusion_and_every_k_find_the_same_everywhere(
    engines: Engines, settings: RetrievalSettings, k: int
) -> None:
    every = engines.stores[0]
    for question in ("rules of trains", "second class", "Rule 7"):
        found = engines.agreed(settings, lambda found, question=question: found.search(every, question, k=k))  # type: ignore[misc]
        assert 0 < len(found.hits) <= k
    whole = engines.agreed(settings, lambda found: found.search(every, "trains", k=1000))
    if settings.fusion != "sparse":
        assert {text for text in TEXTS.values() if len(text) < 100} <= {hit.chunk.text for hit in whole.hits}


def test_without_words_nearness_alone_answers(engines: Engines) -> None:
    every = engines.stores[0]
    for name in ("stop words alone", "signs alone", "emoji alone", "unknown words"):
        by_both, by_nearness = (
            engines.agreed(settings, lambda found, name=name: found.search(every, ASKED[name], k=10)).hits  # type: ignore[misc]
            for settings in (RetrievalSettings(), RetrievalSettings(fusion="dense"))
        )
        assert [hit.chunk.id for hit in by_both] == [hit.chunk.id for hit in by_nearness]
        assert all(hit.scores.sparse is None for hit in by_both)


@pytest.mark.parametrize("where", FILTERS.values(), ids=FILTERS)
def test_filters_of_nothing_and_of_everything(engines: Engines, where: Filter) -> None:
    every = engines.stores[0]
    found = engines.agreed(RetrievalSettings(), lambda found: found.search(every, "trains", k=10, where=where)).hits
    plain = engines.agreed(RetrievalSettings(), lambda found: found.search(every, "trains", k=10)).hits
    assert found == (plain if where in (FILTERS["matches everything"], FILTERS["is empty"]) else ())


def test_several_stores_are_searched_as_one(engines: Engines) -> None:
    every, empty, one, other = engines.stores
    for question in ASKED.values():
        found = engines.agreed(
            RetrievalSettings(),
            lambda found, question=question: found.search([every, empty, other, one, every], question, k=15),  # type: ignore[misc]
        )
        assert len(found.hits) == 15
    backwards = engines.agreed(RetrievalSettings(), lambda found: found.search([other, every], "second class", k=9))
    forwards = engines.agreed(RetrievalSettings(), lambda found: found.search([every, other], "second class", k=9))
    assert backwards.hits == forwards.hits


@pytest.mark.parametrize("groups", [None, frozenset[str](), frozenset({"staff"})], ids=["all", "none", "staff"])
def test_groups_find_the_same_everywhere(engines: Engines, groups: frozenset[str] | None) -> None:
    every = engines.stores[0]
    found = engines.agreed(RetrievalSettings(), lambda found: found.search(every, "trains", k=10, groups=groups))
    assert len(found.hits) == 10


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "empty": ("", {}, "ask something"),
    "blank": (" \n\t\u2003", {}, "ask something"),
    "too long": ("x" * (MAX_QUESTION_CHARACTERS + 1), {}, str(MAX_QUESTION_CHARACTERS)),
    "k of 0": ("trains", {"k": 0}, "at least 1"),
    "k below 0": ("trains", {"k": -1}, "at least 1"),
    "k beyond what is searched": ("trains", {"k": 10_001}, "10000"),
}


@pytest.mark.parametrize(("question", "options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_asked_is_refused_everywhere(
    engines: Engines, question: str, options: dict[str, Any], said: str
) -> None:
    for engine in engines.by_kind.values():
        for stores in (engines.stores[0], engines.stores[1]):
            with pytest.raises(InvalidInputError, match=said):
                asyncio.run(retriever(engine, RetrievalSettings()).search(stores, question, **options))
        with pytest.raises(InvalidInputError, match="name at least one"):
            asyncio.run(retriever(engine, RetrievalSettings()).search([], "trains"))


class CountingChunkStore(MemoryChunkStore):
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(DIMENSION)
        self.asked: list[tuple[bool, bool, int]] = []

    async def search(
        self, store_id: str, dense: Any, sparse: SparseVector | None, limit: int, *rest: Any, **named: Any
    ) -> CandidateLists:
        self.asked.append((dense is not None, bool(sparse and sparse.indices), limit))
        return await super().search(store_id, dense, sparse, limit, *rest, **named)


def test_a_hybrid_search_is_one_call_for_each_store(tmp_path: Path) -> None:
    vectors = CountingChunkStore()
    with fake_engine(tmp_path / "data", vectors=vectors) as engine:
        found = filled(tmp_path, {"memory": engine})
        for stores, times in ((found.stores[:1], 1), (found.stores[2:], 2), ([*found.stores, found.stores[0]], 4)):
            for k in (1, 6, 200):
                vectors.asked.clear()
                asyncio.run(retriever(engine, RetrievalSettings(candidates=100)).search(stores, "trains", k=k))
                assert vectors.asked == [(True, True, max(100, k))] * times


@pytest.mark.long
def test_the_default_embedder_finds_the_same_everywhere(tmp_path: Path) -> None:
    async def embedder_and_all() -> None:
        async with open_engine(load_settings({"data_dir": tmp_path / "edge"})) as engine:
            opened = {"edge": engine}
            for kind in ("memory", "local"):
                store = open_store(kind, tmp_path, engine.embedder.fingerprint.dimension)
                opened[kind] = beside(engine.embedder, store, tmp_path / kind)
            names = [(await build_index(each, dataset(tmp_path, "rules", TEXTS))).store for each in opened.values()]
            for question in ASKED.values():
                for k in (1, 10, 100):
                    found = {
                        kind: (await retriever(each, RetrievalSettings()).search(names[0], question, k=k)).hits
                        for kind, each in opened.items()
                    }
                    for kind, hits in found.items():
                        assert [hit.chunk.id for hit in hits] == [hit.chunk.id for hit in found["memory"]], kind
                        assert [hit.score for hit in hits] == pytest.approx(
                            [hit.score for hit in found["memory"]], abs=1e-5
                        )

    def beside(embedder: Embedder, store: ChunkStore, folder: Path) -> Engine:
        settings = load_settings({"data_dir": folder})
        return make_engine(settings, connect(folder), store, embedder, "beside")

    with edge_folder(tmp_path / "edge"):
        try:
            asyncio.run(embedder_and_all())
        except ModelNotFoundError as error:
            pytest.skip(str(error))
