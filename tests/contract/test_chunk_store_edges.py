"""Where stores differ if they differ at all: ties, emptiness, words of no text, what was deleted. All answer alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from rag.bm25 import BM25Encoder
from rag.documents import Candidate, Point, SparseVector, chunk_id
from rag.filters import And, Eq, Exists, Filter, Not, Or
from rag.protocols import CandidateLists, ChunkStore
from tests.contract.edge_stores import KINDS, QUESTIONS, edge_folder, with_stores
from tests.fakes import DIMENSION, BagOfWordsEmbedder

WORDS = BM25Encoder()
EMBEDDER = BagOfWordsEmbedder()
TEXTS = [
    "Trains are booked in second class.",
    "Flights need the consent of a manager.",
    "Meals on trains are paid by employees.",
    "Поезда бронируются во втором классе.",
    "列車は二等車で予約します。",
    "ยินดีต้อนรับสู่รถไฟ",
    "🚆🚆🚆",
    "",
    "the of and a",
    "trains " * 300,
    "x" * 5000,
    "train\x00station",
]
REPEATED = "Rules of trains are the same rules everywhere."


FILTERS: dict[str, Filter | None] = {
    "no filter": None,
    "matches nothing": Eq("colour", "none"),
    "contradicts itself": And((Exists("colour"), Not(Exists("colour")))),
    "can match nothing": Or(()),
    "matches everything": Or((Exists("colour"), Not(Exists("colour")))),
    "is empty": And(()),
    "matches one": Eq("number", 0),
    "matches half": Eq("colour", "red"),
}


@dataclass(frozen=True)
class Asking:
    """One search."""

    question: str = QUESTIONS["a sentence"]
    limit: int = 10
    where: Filter | None = None
    groups: frozenset[str] | None = None
    together: tuple[str, ...] = ()


def make_point(name: str, text: str, number: int, groups: tuple[str, ...] = ()) -> Point:
    attributes = {"number": number, **({"colour": "red"} if number % 2 else {})}
    identity = chunk_id(f"doc{number}", "g", number)
    return Point(
        identity, f"{name}{number}", "g", EMBEDDER._embed(text), WORDS.encode_passage(text), attributes, groups
    )


def make_points(name: str, texts: Sequence[str], start: int = 0) -> list[Point]:
    return [make_point(name, text, number) for number, text in enumerate(texts, start)]


CORPUS = make_points("a", [*TEXTS, *[REPEATED] * 60])


@cache
def encoded(question: str) -> tuple[np.ndarray, SparseVector]:
    return EMBEDDER._embed(question), WORDS.encode_query(question)


async def ask(store: ChunkStore, asking: Asking, store_id: str = "s") -> CandidateLists:
    dense, sparse = encoded(asking.question)
    return await store.search(
        store_id, dense, sparse, asking.limit, asking.where, asking.groups, asking.together
    )  # fmt: skip


def assert_alike(found: CandidateLists, wanted: CandidateLists) -> None:
    """The same points with the same scores; in the same order, wherever scores differ by more than rounding does."""
    for name in ("dense", "sparse"):
        ours: tuple[Candidate, ...] = getattr(found, name)
        theirs: tuple[Candidate, ...] = getattr(wanted, name)
        assert [each.chunk_id for each in ours] == [each.chunk_id for each in theirs], name
        assert [getattr(each.scores, name) for each in ours] == pytest.approx(
            [getattr(each.scores, name) for each in theirs], rel=1e-5, abs=1e-5
        ), name
        assert [(each.document_id, each.generation) for each in ours] == [
            (each.document_id, each.generation) for each in theirs
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with edge_folder(tmp_path_factory.mktemp("edges")) as found:
        yield found


@pytest.mark.parametrize("kind", KINDS)
def test_every_question_gets_the_same_candidates_from_every_store(kind: str, folder: Path) -> None:
    async def use(exact: ChunkStore, other: ChunkStore) -> None:
        for store in (exact, other):
            await store.upsert("s", CORPUS)
            await store.upsert("t", make_points("b", ["Trains of another store.", "class"], 500))
        for asking in (*map(Asking, QUESTIONS.values()), Asking(limit=1), Asking(limit=100)):
            wanted = await ask(exact, asking)
            assert_alike(await ask(other, asking), wanted)
            assert len(wanted.dense) == min(asking.limit, len(CORPUS))
        for where in FILTERS.values():
            for limit in (1, 100):
                asking = Asking(where=where, limit=limit)
                assert_alike(await ask(other, asking), await ask(exact, asking))

    with_stores(kind, folder, DIMENSION, use)


def test_questions_without_words_have_no_sparse_candidates_and_all_dense_ones() -> None:
    for name in ("stop words alone", "signs alone", "emoji alone"):
        assert not WORDS.encode_query(QUESTIONS[name]).indices, name
    assert len(WORDS.encode_query(QUESTIONS["ten thousand different words"]).indices) > 9_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "texts", [[], ["Trains are booked in second class."], ["", "the"]], ids=["empty", "one point", "no words at all"]
)
def test_small_stores_answer_alike(kind: str, folder: Path, texts: list[str]) -> None:
    async def use(exact: ChunkStore, other: ChunkStore) -> None:
        for store in (exact, other):
            await store.upsert("s", make_points("a", texts))
        for asking in (*map(Asking, QUESTIONS.values()), Asking(limit=0), Asking(limit=1), Asking(limit=100)):
            wanted = await ask(exact, asking)
            assert_alike(await ask(other, asking), wanted)
            assert len(wanted.dense) == min(asking.limit, len(texts))
        assert await exact.count("s") == await other.count("s") == len(texts)

    with_stores(kind, folder, DIMENSION, use)


@pytest.mark.parametrize("kind", KINDS)
def test_ties_are_cut_by_chunk_id_in_whatever_order_they_were_written(kind: str, folder: Path) -> None:
    tied = make_points("a", [REPEATED] * 150)
    ids = sorted(point.chunk_id for point in tied)

    async def use(exact: ChunkStore, other: ChunkStore) -> None:
        rng = np.random.default_rng(7)
        for round_ in range(3):
            order = [tied[place] for place in rng.permutation(len(tied))]
            for store in (exact, other):
                for begin in range(0, len(order), 40):
                    await store.upsert(f"s{round_}", [as_of(point, round_) for point in order[begin : begin + 40]])
            for limit in (1, 32, 33, 100, 149, 150, 200):
                for store in (exact, other):
                    found = await ask(store, Asking("rules of trains", limit), f"s{round_}")
                    for candidates in (found.dense, found.sparse):
                        assert [each.chunk_id for each in candidates] == expected(ids, round_)[:limit]

    def as_of(point: Point, round_: int) -> Point:
        return replace(point, chunk_id=f"{point.chunk_id[:-2]}{round_:02}")

    def expected(ids: list[str], round_: int) -> list[str]:
        return sorted({f"{each[:-2]}{round_:02}" for each in ids})

    with_stores(kind, folder, DIMENSION, use)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_deleted_or_replaced_has_no_share_in_how_rare_a_word_is(kind: str, folder: Path) -> None:
    async def use(exact: ChunkStore, other: ChunkStore) -> None:
        fresh: dict[str, CandidateLists] = {}
        for store in (exact, other):
            await store.upsert("s", CORPUS)
        asked = Asking("rules of trains in second class", 40)
        before = await ask(exact, asked)
        for step in (
            lambda store: store.delete("s", Eq("colour", "red")),
            lambda store: store.delete("s", Not(Exists("number"))),
            lambda store: store.upsert("s", make_points("a", ["flights", "", "second class"])),
            lambda store: store.flush(),
            lambda store: store.upsert("s", CORPUS),
            lambda store: store.delete("s"),
            lambda store: store.upsert("s", CORPUS[::-1]),
        ):
            for store in (exact, other):
                await step(store)
            assert_alike(await ask(other, asked), await ask(exact, asked))
        fresh["again"] = await ask(other, asked)
        assert_alike(fresh["again"], before)

    with_stores(kind, folder, DIMENSION, use)


@pytest.mark.parametrize("kind", KINDS)
def test_no_other_store_has_a_share_in_a_score_unless_both_are_searched(kind: str, folder: Path) -> None:
    async def use(exact: ChunkStore, other: ChunkStore) -> None:
        asked = Asking("trains in second class")
        for store in (exact, other):
            await store.upsert("s", CORPUS[:12])
        alone = await ask(exact, asked)
        neighbour = make_points("b", ["second class"] * 30 + ["trains"] * 5, 500)
        for store in (exact, other):
            await store.upsert("t", neighbour)
            assert_alike(await ask(store, asked), alone)
        both = replace(asked, together=("s", "t"))
        for name in ("s", "t"):
            assert_alike(await ask(other, both, name), await ask(exact, both, name))
        shared = (await ask(exact, both)).sparse
        assert [each.scores.sparse for each in shared] != [each.scores.sparse for each in alone.sparse]
        one = make_points("c", ["second class"], 900)[0]
        for store in (exact, other):  # an equal text has an equal score in every store that is searched together
            await store.upsert("u", [one])
            found = [
                (await ask(store, Asking("second", 1, together=("t", "u")), name)).sparse[0].scores.sparse
                for name in ("t", "u")
            ]
            assert found[0] == pytest.approx(found[1], abs=1e-5)

    with_stores(kind, folder, DIMENSION, use)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_answer_alike(kind: str, folder: Path) -> None:
    async def use(exact: ChunkStore, other: ChunkStore) -> None:
        readers: list[tuple[str, ...]] = [(), ("staff",), ("board",), ("staff", "board")]
        points = [replace(point, groups=readers[number % 4]) for number, point in enumerate(CORPUS)]
        for store in (exact, other):
            await store.upsert("s", points)
        for groups in (None, frozenset(), frozenset({"staff"}), frozenset({"nobody"}), frozenset({"staff", "board"})):
            for where in FILTERS.values():
                asking = Asking(limit=100, where=where, groups=groups)
                assert_alike(await ask(other, asking), await ask(exact, asking))

    with_stores(kind, folder, DIMENSION, use)


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_of_words_alone_that_nothing_has_finds_nothing(kind: str, folder: Path) -> None:
    async def use(exact: ChunkStore, other: ChunkStore) -> None:
        for store in (exact, other):
            await store.upsert("s", CORPUS)
            for words in (SparseVector((), ()), SparseVector((4_000_000_000,), (1.0,))):
                assert await store.search("s", None, words, 10) == CandidateLists((), ())

    with_stores(kind, folder, DIMENSION, use)
