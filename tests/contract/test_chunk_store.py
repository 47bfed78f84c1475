"""What every ChunkStore promises, run over memory, Edge, the client's local mode, and a server where there is one."""

from __future__ import annotations

import asyncio
import math
import os
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import AsyncQdrantClient

from rag.backends.vectors.memory import MemoryChunkStore
from rag.backends.vectors.qdrant_edge import EdgeChunkStore, stop_worker
from rag.backends.vectors.qdrant_server import ServerChunkStore, connect
from rag.documents import AttributeValue, Candidate, Point, SparseVector
from rag.errors import InvalidInputError, StorageError
from rag.filters import And, Eq, Exists, Filter, In, Not, Or, Range
from rag.protocols import ChunkStore
from rag.settings import QdrantSettings

DIMENSION = 8
URL = os.environ.get("QDRANT_URL")
BACKENDS = [
    "memory",
    "edge",
    pytest.param("local", marks=pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")),
    pytest.param("server", marks=pytest.mark.skipif(not URL, reason="QDRANT_URL names no Qdrant server")),
]

Use = Callable[[ChunkStore], Awaitable[None]]
Run = Callable[[Use], None]


@pytest.fixture(params=BACKENDS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    """Run a coroutine function with a new, empty store, and close that."""
    kind = request.param

    async def run_and_close(use: Use) -> None:
        store = make_store(kind, tmp_path)
        try:
            await use(store)
        finally:
            await store.close()

    yield lambda use: asyncio.run(run_and_close(use))
    if kind == "edge":
        stop_worker(tmp_path)


def make_store(kind: str, folder: Path) -> ChunkStore:
    match kind:
        case "memory":
            return MemoryChunkStore(DIMENSION)
        case "edge":
            return EdgeChunkStore(folder, f"c{uuid.uuid4().hex}", DIMENSION, idle_seconds=1)
        case "local":
            return ServerChunkStore(AsyncQdrantClient(":memory:"), "chunks", DIMENSION)
        case _:
            return ServerChunkStore(connect(QdrantSettings(url=URL)), f"test-{uuid.uuid4().hex}", DIMENSION)


def chunk(number: int) -> str:
    return str(uuid.UUID(int=number))


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


def point(
    number: int,
    *,
    document: str = "doc",
    generation: str = "g1",
    dense: np.ndarray | None = None,
    sparse: dict[int, float] | None = None,
    **attributes: AttributeValue,
) -> Point:
    words = {number: 1.0} if sparse is None else sparse
    return Point(
        chunk(number),
        document,
        generation,
        vector(number) if dense is None else dense,
        SparseVector(tuple(words), tuple(words.values())),
        attributes,
    )


def numbers(found: tuple[Candidate, ...]) -> list[int]:
    return [uuid.UUID(each.chunk_id).int for each in found]


async def readable(store: ChunkStore, store_id: str, groups: frozenset[str] | None, where: Filter | None) -> set[int]:
    """The points that whoever belongs to the groups finds, by either vector."""
    words = SparseVector((1,), (1.0,))
    found = await store.search(store_id, vector(0), words, 1000, where, groups)
    assert set(numbers(found.sparse)) == set(numbers(found.dense))
    return set(numbers(found.dense))


async def everything(store: ChunkStore, store_id: str, where: Filter | None = None) -> set[int]:
    """The points that a filter lets through, as search sees them, and count agrees."""
    found = set(numbers((await store.search(store_id, vector(0), None, 1000, where)).dense))
    assert await store.count(store_id, where) == len(found)
    return found


def test_an_empty_store_answers(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        assert await store.count("s") == 0
        found = await store.search("s", vector(1), SparseVector((1,), (1.0,)), 10)
        assert (found.dense, found.sparse) == ((), ())
        assert await store.identities("s", None, 10) == []
        await store.delete("s")
        await store.upsert("s", [])
        await store.flush()

    run(use)


def test_search_returns_cosines_best_first(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        points = [point(number, document=f"d{number % 3}", generation="gen") for number in range(1, 50)]
        await store.upsert("s", points)
        query = vector(99)
        found = (await store.search("s", query, None, 10)).dense
        cosines = {
            each.chunk_id: float(each.dense @ query / np.linalg.norm(each.dense) / np.linalg.norm(query))
            for each in points
        }
        assert [each.chunk_id for each in found] == sorted(cosines, key=lambda one: -cosines[one])[:10]
        for each in found:
            assert each.scores.dense == pytest.approx(cosines[each.chunk_id], abs=1e-5)
            assert each.scores.sparse is None
            assert (each.document_id, each.generation) == (f"d{uuid.UUID(each.chunk_id).int % 3}", "gen")

    run(use)


def test_sparse_scores_are_the_dot_product_weighted_by_idf(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        weights = {1: {1: 0.5, 2: 2.0}, 2: {1: 1.5}, 3: {1: 1.0, 7: 1.0}, 4: {2: 0.25, 4_294_967_295: 1.0}, 5: {}}
        await store.upsert("s", [point(number, sparse=words) for number, words in weights.items()])
        await store.upsert("other", [point(9, sparse={2: 1.0})])
        found = (await store.search("s", None, SparseVector((1, 2, 8), (1.0, 2.0, 1.0)), 10)).sparse
        total = 4  # points of the store that have a sparse vector

        def idf(holders: int) -> float:
            return math.log(1 + (total - holders + 0.5) / (holders + 0.5))

        wanted = {1: 0.5 * idf(3) + 4.0 * idf(2), 2: 1.5 * idf(3), 3: idf(3), 4: 0.5 * idf(2)}
        assert numbers(found) == sorted(wanted, key=lambda number: -wanted[number])
        assert [each.scores.sparse for each in found] == pytest.approx(sorted(wanted.values(), reverse=True), abs=1e-4)
        last = (await store.search("s", None, SparseVector((4_294_967_295,), (1.0,)), 10)).sparse
        assert numbers(last) == [4]

    run(use)


def test_both_vectors_are_searched_in_one_call(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        await store.upsert("s", [point(1), point(2), point(3)])
        found = await store.search("s", vector(2), SparseVector((3,), (1.0,)), 2)
        assert numbers(found.dense)[0] == 2
        assert len(found.dense) == 2
        assert numbers(found.sparse) == [3]
        neither = await store.search("s", None, SparseVector((), ()), 2)
        assert (neither.dense, neither.sparse) == ((), ())

    run(use)


@pytest.mark.parametrize("limit", [1, 7, 40])
def test_equal_scores_are_ordered_and_cut_by_chunk_id(run: Run, limit: int) -> None:
    async def use(store: ChunkStore) -> None:
        same = vector(5)
        order = np.random.default_rng(0).permutation(range(1, 301))
        await store.upsert("s", [point(int(number), dense=same, sparse={3: 1.0}) for number in order])
        await store.upsert("s", [point(900, dense=-same, sparse={4: 1.0})])
        found = await store.search("s", same, SparseVector((3,), (1.0,)), limit)
        assert numbers(found.dense) == list(range(1, limit + 1))
        assert numbers(found.sparse) == list(range(1, limit + 1))

    run(use)


def test_a_limit_above_the_count_returns_all_and_zero_none(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        await store.upsert("s", [point(1), point(2)])
        assert len((await store.search("s", vector(1), None, 10_000)).dense) == 2
        assert (await store.search("s", vector(1), None, 0)).dense == ()
        with pytest.raises(InvalidInputError, match="limit"):
            await store.search("s", vector(1), None, 10_001)

    run(use)


def test_writing_again_changes_nothing_and_replaces(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        points = [point(number, colour="red") for number in range(1, 20)]
        await store.upsert("s", points)
        before = await store.search("s", vector(0), SparseVector((4,), (1.0,)), 50)
        await store.upsert("s", points)
        assert await store.count("s") == 19
        after = await store.search("s", vector(0), SparseVector((4,), (1.0,)), 50)
        assert numbers(after.dense) == numbers(before.dense)
        await store.upsert("s", [point(3, generation="g2", dense=vector(77), colour="blue"), *points[:2]])
        assert await store.count("s") == 19
        assert await everything(store, "s", Eq("colour", "blue")) == {3}
        assert await everything(store, "s", Eq("generation", "g2")) == {3}
        assert (await store.search("s", vector(77), None, 1)).dense[0].scores.dense == pytest.approx(1, abs=1e-5)

    run(use)


def test_of_a_repeated_id_the_last_is_kept(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        await store.upsert("s", [point(1, at=1), point(2), point(1, at=2)])
        assert await store.count("s") == 2
        assert await everything(store, "s", Eq("at", 2)) == {1}

    run(use)


BAD_POINTS = {
    "short": point(500, dense=np.ones(DIMENSION - 1, dtype=np.float32)),
    "matrix": point(500, dense=np.ones((1, DIMENSION), dtype=np.float32)),
    "nan": point(500, dense=np.full(DIMENSION, np.nan, dtype=np.float32)),
    "infinite": point(500, dense=np.array([np.inf] + [0] * 7, dtype=np.float32)),
    "overflow": point(500, dense=np.full(DIMENSION, 1e38, dtype=np.float32)),
    "sparse nan": point(500, sparse={1: math.nan}),
    "sparse overflow": point(500, sparse={1: 1e300}),
    "sparse negative term": point(500, sparse={-1: 1.0}),
    "sparse large term": point(500, sparse={2**32: 1.0}),
    "sparse repeated": Point(chunk(500), "d", "g", vector(1), SparseVector((1, 1), (1.0, 2.0))),
    "sparse lengths": Point(chunk(500), "d", "g", vector(1), SparseVector((1, 2), (1.0,))),
    "id": Point("chunk-500", "d", "g", vector(1), SparseVector((), ())),
    "id in capitals": Point(
        str(uuid.uuid5(uuid.NAMESPACE_DNS, "x")).upper(), "d", "g", vector(1), SparseVector((), ())
    ),
    "attribute nan": point(500, size=math.nan),
    "attribute too large": point(500, size=2**63),
    "attribute key": point(500, **{'a"b': 1}),
    "attribute key with a backslash": point(500, **{"a\\": 1}),
    "attribute without a key": point(500, **{"": 1}),
    "attribute surrogate": point(500, name="\ud800"),
}


@pytest.mark.parametrize("bad", BAD_POINTS.values(), ids=BAD_POINTS)
def test_a_bad_point_is_refused_and_nothing_of_the_call_is_written(run: Run, bad: Point) -> None:
    async def use(store: ChunkStore) -> None:
        await store.upsert("s", [point(1)])
        with pytest.raises(InvalidInputError):
            await store.upsert("s", [*(point(number) for number in range(2, 400)), bad, point(600)])
        assert await store.identities("s", None, 1000) == [(chunk(1), "doc", "g1")]

    run(use)


def test_a_bad_query_is_refused(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        await store.upsert("s", [point(1)])
        for bad in (np.ones(3, dtype=np.float32), np.full(DIMENSION, np.nan, dtype=np.float32)):
            with pytest.raises(InvalidInputError):
                await store.search("s", bad, None, 5)
        with pytest.raises(InvalidInputError):
            await store.search("s", None, SparseVector((1, 1), (1.0, 1.0)), 5)
        with pytest.raises(InvalidInputError):
            await store.identities("s", "not an id", 5)

    run(use)


def test_identities_come_in_pages_in_order(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        ids = [int(number) for number in np.random.default_rng(1).permutation(range(1, 61))]
        await store.upsert("s", [point(number, document=f"d{number}") for number in ids])
        await store.upsert("other", [point(1000)])
        assert await store.identities("s", None, 1000) == [(chunk(n), f"d{n}", "g1") for n in range(1, 61)]
        pages: list[tuple[str, str, str]] = []
        while page := await store.identities("s", pages[-1][0] if pages else None, 7):
            assert len(page) <= 7
            pages += page
        assert pages == [(chunk(n), f"d{n}", "g1") for n in range(1, 61)]
        await store.delete("s", Eq("document_id", "d30"))
        assert (await store.identities("s", chunk(30), 1))[0][0] == chunk(31)
        assert await store.identities("s", chunk(60), 5) == []
        assert await store.identities("s", None, 0) == []

    run(use)


def test_delete_takes_one_generation_of_one_document(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        await store.upsert("s", [point(n, document="a", generation="old") for n in range(1, 6)])
        await store.upsert("s", [point(n, document="a", generation="new") for n in range(6, 9)])
        await store.upsert("s", [point(9, document="b", generation="old")])
        await store.delete("s", And((Eq("document_id", "a"), Eq("generation", "old"))))
        assert await everything(store, "s") == {6, 7, 8, 9}
        await store.delete("s", And((Eq("document_id", "a"), Not(Eq("generation", "new")))))
        assert await everything(store, "s") == {6, 7, 8, 9}
        await store.delete("s", Or(()))
        assert await everything(store, "s") == {6, 7, 8, 9}
        await store.delete("s")
        assert await everything(store, "s") == set()

    run(use)


CORPUS: dict[int, dict[str, AttributeValue]] = {
    1: {"colour": "red", "size": 1, "public": True, "store": "other"},
    2: {"colour": "blue", "size": 2.5, "public": False, "a.b": "dotted"},
    3: {"colour": "", "size": -3, "x[0]": "bracketed", "ü *$[].": "odd"},
    4: {"size": 2.0, "public": True, "year": 2**53 + 1},
    5: {"size": "two", "year": 2**53},
    6: {},
}

FILTERS: list[tuple[Filter, set[int]]] = [
    (Eq("colour", "red"), {1}),
    (Eq("colour", ""), {3}),
    (Eq("colour", "green"), set()),
    (Eq("size", 2), {4}),
    (Eq("size", 2.0), {4}),
    (Eq("size", 2.5), {2}),
    (Eq("size", "two"), {5}),
    (Eq("size", 1e300), set()),
    (Eq("year", 2**53 + 1), {4}),
    (Eq("public", True), {1, 4}),
    (Eq("public", False), {2}),
    (Not(Eq("public", True)), {2, 3, 5, 6}),
    (Not(Eq("public", False)), {1, 3, 4, 5, 6}),
    (In("public", (True, False)), {1, 2, 4}),
    (Not(In("public", (True,))), {2, 3, 5, 6}),
    (Eq("a.b", "dotted"), {2}),
    (Eq("x[0]", "bracketed"), {3}),
    (Eq("ü *$[].", "odd"), {3}),
    (Eq("store", "other"), {1}),
    (Eq("document_id", "doc"), {1, 2, 3, 4, 5, 6}),
    (Eq("document_id", "d"), set()),
    (In("colour", ("red", "blue", "grey")), {1, 2}),
    (In("size", (1, 2.5, "two", "x")), {1, 2, 5}),
    (In("colour", ()), set()),
    (Not(In("colour", ())), {1, 2, 3, 4, 5, 6}),
    (Range("size", minimum=1), {1, 2, 4}),
    (Range("size", maximum=2), {1, 3, 4}),
    (Range("size", minimum=1, maximum=2), {1, 4}),
    (Range("size", minimum=2, maximum=1), set()),
    (Range("size"), {1, 2, 3, 4}),
    (Range("size", minimum=-math.inf, maximum=math.inf), {1, 2, 3, 4}),
    (Range("colour", minimum=0), set()),
    (Exists("colour"), {1, 2, 3}),
    (Exists("nothing"), set()),
    (Not(Exists("size")), {6}),
    (And(()), {1, 2, 3, 4, 5, 6}),
    (Or(()), set()),
    (Not(And(())), set()),
    (Not(Or(())), {1, 2, 3, 4, 5, 6}),
    (Or((Or(()), Eq("colour", "red"))), {1}),
    (And((Or(()), Eq("colour", "red"))), set()),
    (And((Exists("colour"), Range("size", maximum=2))), {1, 3}),
    (Or((Eq("colour", "red"), And((Eq("size", 2), Eq("public", True))))), {1, 4}),
    (Not(Or((Eq("colour", "red"), Exists("public")))), {3, 5, 6}),
    (And((Not(Eq("colour", "red")), Not(Not(Exists("colour"))))), {2, 3}),
]


def test_every_filter_lets_through_what_it_says(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        await store.upsert("s", [point(number, **attributes) for number, attributes in CORPUS.items()])
        await store.upsert("other", [point(number + 100, **attributes) for number, attributes in CORPUS.items()])
        for where, wanted in FILTERS:
            assert await everything(store, "s", where) == wanted, where
        words = SparseVector((1, 2, 3), (1.0, 1.0, 1.0))
        found = await store.search("s", None, words, 10, Eq("public", True))
        assert numbers(found.sparse) == [1]

    run(use)


def test_a_filter_that_cannot_be_meant_is_refused(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        deep: Filter = Exists("x")
        for _ in range(5000):
            deep = Not(deep)
        bad = [deep, Eq('a" OR "', 1), Eq("", 1), Eq("x", math.nan), Range("x", minimum=math.nan), Eq("x", 2**70)]
        for where in bad:
            with pytest.raises(InvalidInputError):
                await store.count("s", where)
            with pytest.raises(InvalidInputError):
                await store.delete("s", where)

    run(use)


HOSTILE: list[Filter] = [
    Or((Eq("store", "b"), Not(Eq("store", "a")))),
    Or((Exists("document_id"), And(()))),
    Not(Eq("store", "a")),
    Not(And((Eq("document_id", "none"), Eq("store", "a")))),
    Not(Or(())),
    And(()),
    Not(Not(Or((And(()), Eq("store", "b"))))),
    In("store", ("a", "b")),
    Or((Eq("store", "b"), Eq("attributes.store", "b"), Range("secret"), Eq("secret", True))),
]


def test_no_filter_sees_or_deletes_another_stores_points(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        await store.upsert("a", [point(1, secret=True), point(2)])
        await store.upsert("b", [point(11, secret=True, store="a"), point(12), point(13)])
        for where in HOSTILE:
            assert await everything(store, "a", where) <= {1, 2}, where
            sparse = (await store.search("a", None, SparseVector((1, 11, 12), (1.0,) * 3), 10, where)).sparse
            assert set(numbers(sparse)) <= {1}, where
        assert await everything(store, "c") == set()
        assert [each[0] for each in await store.identities("a", None, 10)] == [chunk(1), chunk(2)]
        for where in HOSTILE:
            await store.delete("a", where)
        await store.delete("a")
        await store.delete("c")
        assert await everything(store, "b") == {11, 12, 13}
        assert await store.count("a") == 0

    run(use)


def test_sparse_scores_after_a_delete_keep_their_order(run: Run) -> None:
    """Edge counts deleted points in the IDF until it vacuums, so that scores differ there but stay comparable."""

    async def use(store: ChunkStore) -> None:
        await store.upsert("s", [point(n, document=f"d{n % 2}", sparse={1: n / 10}) for n in range(1, 11)])
        await store.delete("s", Eq("document_id", "d0"))
        found = (await store.search("s", None, SparseVector((1,), (1.0,)), 10)).sparse
        assert numbers(found) == [9, 7, 5, 3, 1]

    run(use)


def test_a_closed_store_says_so(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        await store.upsert("s", [point(1)])
        await store.close()
        with pytest.raises(StorageError, match="closed"):
            await store.count("s")

    run(use)


@pytest.mark.parametrize("kind", BACKENDS[1:])
def test_every_backend_finds_what_memory_finds(kind: str, tmp_path: Path) -> None:
    async def compare() -> None:
        rng = np.random.default_rng(3)
        points = [
            point(
                number,
                document=f"d{number % 7}",
                sparse={int(t): float(rng.uniform(0.1, 2)) for t in set(rng.zipf(1.4, 12) % 50)},
                size=int(rng.integers(10)),
            )
            for number in range(1, 301)
        ]
        exact, other = MemoryChunkStore(DIMENSION), make_store(kind, tmp_path)
        for store in (exact, other):
            await store.upsert("s", points[:200])
            await store.upsert("t", points[200:])
        for seed in range(20):
            terms = SparseVector(tuple({int(t) for t in rng.zipf(1.4, 4) % 50}), ())
            terms = SparseVector(terms.indices, (1.0,) * len(terms.indices))
            where = Range("size", minimum=seed % 5) if seed % 2 else None
            wanted = await exact.search("s", vector(1000 + seed), terms, 25, where)
            found = await other.search("s", vector(1000 + seed), terms, 25, where)
            assert numbers(found.dense) == numbers(wanted.dense)
            assert [c.scores.dense for c in found.dense] == pytest.approx(
                [c.scores.dense for c in wanted.dense], abs=1e-4
            )
            assert {c.chunk_id for c in found.sparse} == {c.chunk_id for c in wanted.sparse}
            assert [c.scores.sparse for c in found.sparse] == pytest.approx(
                [c.scores.sparse for c in wanted.sparse], abs=1e-4
            )
        await other.close()

    asyncio.run(compare())
    if kind == "edge":
        stop_worker(tmp_path)


def filters() -> st.SearchStrategy[Filter]:
    keys = st.sampled_from(["colour", "size", "public", "store", "document_id", "generation"])
    values = st.sampled_from(["red", "a", "b", "doc", "", True, False, 0, 1, 2, 2.5, -1])
    bounds = st.none() | st.sampled_from([-1, 0, 1, 2.5])
    leaves: st.SearchStrategy[Filter] = st.one_of(
        st.builds(Eq, keys, values),
        st.builds(In, keys, st.lists(values, max_size=3).map(tuple)),
        st.builds(Range, keys, bounds, bounds),
        st.builds(Exists, keys),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(And, st.lists(inner, max_size=3).map(tuple)),
            st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
            st.builds(Not, inner),
        ),
        max_leaves=8,
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=5)
@given(st.lists(filters(), min_size=30, max_size=30))
def test_any_filter_means_the_same_everywhere_and_never_crosses_stores(run: Run, wheres: list[Filter]) -> None:
    async def use(store: ChunkStore) -> None:
        exact = MemoryChunkStore(DIMENSION)
        for each in (store, exact):
            await each.upsert("a", [point(number, **attributes) for number, attributes in CORPUS.items()])
            await each.upsert("b", [point(number + 100, **attributes) for number, attributes in CORPUS.items()])
        for where in wheres:
            found = await everything(store, "a", where)
            assert found == await everything(exact, "a", where)
            assert found <= set(CORPUS)

    run(use)


def test_points_are_named_by_their_chunk_id(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        await store.upsert("s", [point(n) for n in range(1, 9)])
        await store.upsert("other", [point(9)])
        some = In("chunk_id", (chunk(2), chunk(3), chunk(9)))
        assert await everything(store, "s", some) == {2, 3}
        assert await everything(store, "s", Not(some)) == {1, 4, 5, 6, 7, 8}
        assert await everything(store, "s", Eq("chunk_id", chunk(7))) == {7}
        assert await everything(store, "s", In("chunk_id", ())) == set()
        with pytest.raises(InvalidInputError):
            await store.count("s", Exists("chunk_id"))
        await store.delete("s", some)
        assert await everything(store, "s") == {1, 4, 5, 6, 7, 8}
        assert await everything(store, "other") == {9}

    run(use)


def test_dense_vectors_come_back_as_directions(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        await store.upsert("s", [point(n) for n in range(1, 600)])
        await store.upsert("other", [point(700)])
        assert await store.dense_vectors("s", []) == {}
        found = await store.dense_vectors("s", [chunk(n) for n in range(1, 701)])
        assert found.keys() == {chunk(n) for n in range(1, 600)}
        for n in (1, 300, 599):
            direction = vector(n) / np.linalg.norm(vector(n))
            np.testing.assert_allclose(found[chunk(n)], direction, atol=1e-6)

    run(use)


READERS: dict[int, tuple[str, ...]] = {
    1: (), 2: ("staff",), 3: ("board",), 4: ("staff", "board"), 5: ("groups",), 6: ("ä b.c[0]",),
}  # fmt: skip
CALLERS: list[tuple[frozenset[str] | None, set[int]]] = [
    (None, {1, 2, 3, 4, 5, 6}),
    (frozenset(), {1}),
    (frozenset({"staff"}), {1, 2, 4}),
    (frozenset({"board", "groups"}), {1, 3, 4, 5}),
    (frozenset({"ä b.c[0]"}), {1, 6}),
    (frozenset({"nobody", "Staff", ""}), {1}),
]


def guarded_points() -> list[Point]:
    """Those of CORPUS, all with the same word, for these readers."""
    return [
        replace(point(number, sparse={1: 1.0}, **attributes), groups=READERS[number])
        for number, attributes in CORPUS.items()
    ]


def test_who_shares_a_group_finds_a_point_and_nobody_else(run: Run) -> None:
    async def use(store: ChunkStore) -> None:
        await store.upsert("s", guarded_points())
        await store.upsert(
            "other", [replace(point(11, sparse={1: 1.0}), groups=("staff",)), point(12, sparse={1: 1.0})]
        )
        for groups, wanted in CALLERS:
            assert await readable(store, "s", groups, None) == wanted, groups
            for where in (Not(Eq("colour", "none")), Not(Or(())), And(()), Not(Exists("groups")), Not(Not(And(())))):
                assert await readable(store, "s", groups, where) == wanted, (groups, where)
            assert await readable(store, "s", groups, Exists("groups")) == set()  # it is no attribute
            assert await readable(store, "s", groups, Eq("public", True)) == wanted & {1, 4}
        await store.upsert("s", [replace(point(2, sparse={1: 1.0}), groups=("board",))])
        assert await readable(store, "s", frozenset({"staff"}), None) == {1, 4}
        await store.upsert("s", [point(2, sparse={1: 1.0})])
        assert await readable(store, "s", frozenset(), None) == {1, 2}

    run(use)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=3)
@given(
    st.lists(st.tuples(filters(), st.frozensets(st.sampled_from(["staff", "board", "groups", "none"]))),
             min_size=30, max_size=30)
)  # fmt: skip
def test_no_filter_opens_the_wall_of_groups(run: Run, asked: list[tuple[Filter, frozenset[str]]]) -> None:
    async def use(store: ChunkStore) -> None:
        exact = MemoryChunkStore(DIMENSION)
        for each in (store, exact):
            await each.upsert("a", guarded_points())
            await each.upsert("b", [replace(each, chunk_id=chunk(n)) for n, each in enumerate(guarded_points(), 100)])
        for where, groups in asked:
            allowed = {n for n, readers in READERS.items() if not readers or groups & set(readers)}
            found = await readable(store, "a", groups, where)
            assert found <= allowed
            assert found == (await readable(exact, "a", None, where)) & allowed

    run(use)
