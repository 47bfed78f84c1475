"""Attributes have payload indexes, and no question's answer shows whether they do."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models

from rag.backends.vectors.attribute_keys import MAX_GIVEN, MAX_OWN, key_of, kinds_of, to_index
from rag.backends.vectors.conditions import enclose, path_of
from rag.backends.vectors.memory import MemoryChunkStore
from rag.backends.vectors.qdrant_edge import CONNECTIONS, EdgeChunkStore, stop_worker
from rag.backends.vectors.qdrant_server import ServerChunkStore
from rag.documents import AttributeValue, Point, SparseVector
from rag.filters import Eq, Exists, Filter, In, Not, Range
from tests.contract.test_chunk_store import DIMENSION, everything, point

ROOT = Path(__file__).resolve().parents[4]
VALUES: list[AttributeValue | None] = [
    1, 2, 2.5, 0, -1.5, "2", "1", "", "a", True, None, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 1e300, 5e-324, -0.0,
]  # fmt: skip
QUESTIONS: list[Filter] = [
    *(Eq("n", value) for value in VALUES if value is not None),
    In("n", (1, 2)), In("n", ("2", "a")), In("n", (1, "a", 2.5)), In("n", (2**53 + 1, 0)), In("n", tuple(range(40))),
    Range("n", 0, None), Range("n", None, -0.0), Range("n", 2, 2), Range("n"), Exists("n"),
]  # fmt: skip

# What a worker does of itself, on a shard that is written as before there were indexes
OLD_SHARD = """
import sys, threading
from pathlib import Path
import qdrant_edge as edge
from rag.backends.vectors.edge_build import Collection
from rag.backends.vectors.edge_config import Indexing
from rag.backends.vectors.edge_shard import Shard

root, step = Path(sys.argv[1]), sys.argv[2]
name = next(each.name for each in root.iterdir() if each.is_dir())
if step == "strip":
    shard = Shard(root / name, 8)
    for path in ("groups", 'attributes."n"', 'attributes."k"'):
        shard._shard.update(edge.UpdateOperation.delete_field_index(path))
    shard.close()
engine = threading.Lock()
with engine:
    served = Collection(root, name, 8, Indexing(), engine, print)
    if step == "tidy":
        served.tidy(0, 1e9)
    schema = served.shard._shard.info().payload_schema
    print(sorted((path, str(info.data_type).split(".")[-1], info.points) for path, info in schema.items()))
    served.end(purge=False)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    stop_worker(tmp_path)


def schema_after(folder: Path, step: str) -> str:
    command = [sys.executable, "-c", OLD_SHARD, str(folder / "vectors"), step]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def edge_store(folder: Path) -> EdgeChunkStore:
    return EdgeChunkStore(folder, "c", DIMENSION, idle_seconds=5)


def points(values: list[AttributeValue | None]) -> list[Point]:
    return [point(at, **({} if value is None else {"n": value})) for at, value in enumerate(values, 1)]


@pytest.mark.parametrize("order", [1, -1])
def test_values_of_both_kinds_at_one_key_are_found_as_without_an_index(folder: Path, order: int) -> None:
    """The first value says what kind the index is of: a number in one order, and in the other text."""

    async def compare() -> None:
        memory, edge = MemoryChunkStore(DIMENSION), edge_store(folder)
        written = points([1, *VALUES] if order > 0 else ["1", *VALUES])
        for store in (memory, edge):
            for each in written:
                await store.upsert("s", [each])
        for where in QUESTIONS:
            for each in (where, Not(where)):
                assert await everything(edge, "s", each) == await everything(memory, "s", each), each
        await edge.close()

    asyncio.run(compare())
    stop_worker(folder)
    kind, held = ("Float", 14) if order > 0 else ("Keyword", 5)
    assert f"('attributes.n', '{kind}', {held})" in schema_after(folder, "look")


def test_a_collection_without_indexes_gets_them_and_is_searched_before(folder: Path) -> None:
    async def ask(*, write: bool) -> None:
        store = edge_store(folder)
        if write:
            await store.upsert("s", [point(each, n=each % 3, k=f"v{each % 2}") for each in range(1, 31)])
        assert await everything(store, "s", Eq("n", 1)) == set(range(1, 31, 3))
        assert await everything(store, "s", Eq("k", "v1")) == set(range(1, 31, 2))
        await store.close()

    keywords = [(name, "Keyword", 30) for name in ("document", "generation", "store")]
    asyncio.run(ask(write=True))
    stop_worker(folder)
    assert schema_after(folder, "strip") == str(keywords)
    asyncio.run(ask(write=False))
    stop_worker(folder)
    made = [("attributes.k", "Keyword", 30), ("attributes.n", "Float", 30), ("groups", "Keyword", 0)]
    assert schema_after(folder, "tidy") == str(sorted(keywords + made))
    asyncio.run(ask(write=False))


def test_a_word_is_as_rare_as_in_its_store_whatever_is_written_beside(folder: Path) -> None:
    async def compare() -> None:
        memory, edge = MemoryChunkStore(DIMENSION), edge_store(folder)
        query = SparseVector((1, 2), (1.0, 1.0))
        for round_, store_id in enumerate(["a", "a", "b", "b", "a"]):
            batch = [point(10 * round_ + each, sparse={1 + each % 2 * round_: 1.0}) for each in range(1, 6)]
            for store in (memory, edge):
                await store.upsert(store_id, batch)
            for together in ([], ["b"]):
                wanted = (await memory.search("a", None, query, 50, together=together)).sparse
                found = (await edge.search("a", None, query, 50, together=together)).sparse
                assert [each.chunk_id for each in found] == [each.chunk_id for each in wanted]
                scores = [[each.scores.sparse for each in some] for some in (found, wanted)]
                assert np.allclose(*scores, atol=1e-6), (round_, together)
        await edge.close()

    asyncio.run(compare())


def test_a_hundred_calls_at_once_connect_no_more_than_is_kept(folder: Path) -> None:
    def sockets() -> set[str]:
        found = set()
        for each in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # that of the folder that is read
                found.add(str(each.readlink()))
        return {each for each in found if each.startswith("socket:")}

    async def burst() -> None:
        before, store = sockets(), edge_store(folder)
        await store.upsert("s", [point(1)])
        seen = []
        for _ in range(3):
            assert await asyncio.gather(*(store.count("s") for _ in range(100))) == [1] * 100
            seen.append(sockets() - before)
        assert seen[0] == seen[1] == seen[2]
        assert 1 < len(seen[0]) <= CONNECTIONS
        await store.close()

    asyncio.run(burst())


class WatchedClient(AsyncQdrantClient):
    """The local mode, which has no indexes, behind a server that says which it has."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.made: list[tuple[str, str, bool | None]] = []

    async def create_payload_index(self, collection_name: str, field_name: str, **options: object) -> object:  # type: ignore[override]
        schema = options["field_schema"]
        self.made.append((field_name, type(schema).__name__, getattr(schema, "is_tenant", None)))
        return None

    async def get_collection(self, collection_name: str, **_: object) -> models.CollectionInfo:
        found = await super().get_collection(collection_name)
        kinds = {"KeywordIndexParams": "keyword", "FloatIndexParams": "float"}
        schema = {
            path: models.PayloadIndexInfo(data_type=models.PayloadSchemaType(kinds[kind]), points=0)
            for path, kind, _ in self.made
        }
        return found.model_copy(update={"payload_schema": schema})


def test_a_server_is_asked_once_for_each_index() -> None:
    async def run() -> None:
        client = WatchedClient()
        first, second = (ServerChunkStore(client, "chunks", DIMENSION) for _ in range(2))
        await first.upsert("s", [point(1, n=1, k="v", document_id="no field of an attribute's")])
        await second.count("s")
        await first.upsert("s", [point(2, n="text", late=1.5)])
        await second.upsert("s", [point(3, late="text")])
        keyword, number = "KeywordIndexParams", "FloatIndexParams"
        fields = [("store", keyword, True), *((name, keyword, None) for name in ("document", "generation", "groups"))]
        attributes = [(path_of("n"), number, None), (path_of("k"), keyword, None), (path_of("late"), number, None)]
        assert client.made == fields + attributes
        await client.delete_collection("chunks")
        await first.close()

    asyncio.run(run())


def test_a_servers_collection_without_indexes_gets_them_when_it_is_opened() -> None:
    async def run() -> None:
        client = WatchedClient()
        await ServerChunkStore(client, "chunks", DIMENSION).upsert("s", [point(1, n=1)])
        client.made.clear()
        store = ServerChunkStore(client, "chunks", DIMENSION)
        assert await store.count("s") == 1
        assert (path_of("n"), "FloatIndexParams", None) in client.made
        await store.close()

    asyncio.run(run())


def test_keys_of_strangers_are_indexed_up_to_a_bound_that_leaves_room_for_our_own() -> None:
    theirs = kinds_of([{"attributes": {f"k{number}": number}} for number in range(100)])
    chosen = to_index(theirs, [])
    assert list(chosen) == [f"k{number}" for number in range(MAX_GIVEN)]
    ours = kinds_of([{"attributes": {f"quoth.k{number}": "text"}} for number in range(100)])
    assert to_index(ours | theirs, chosen) == {f"quoth.k{number}": "text" for number in range(MAX_OWN)}
    assert to_index({"k1": "text"}, ["k1"]) == {}


def test_the_first_value_says_the_kind() -> None:
    payloads = [{"attributes": {"a": 1, "b": "x"}}, {}, {"attributes": {"a": "x", "b": 1, "c": ["x"], "d": 0.5}}]
    assert kinds_of(payloads) == {"a": "number", "b": "text", "c": "text", "d": "number"}


@pytest.mark.parametrize("key", ["n", "quoth.path", "two words", "a.b[0]", "größe", ".", "x."])
def test_a_key_comes_back_out_of_its_path(key: str) -> None:
    assert key_of(path_of(key)) == key
    assert key_of("store") is None
    assert key_of("attributes.plain") == "plain"


@pytest.mark.parametrize("value", [0, 1, -7, 2**53 - 1, 2**53, 2**53 + 1, -(2**63), 2**63 - 1])
def test_the_bounds_around_an_integer_hold_it(value: int) -> None:
    low, high = enclose([value])
    assert low <= value <= high
    assert low <= float(value) <= high
    assert (low == high == value) is (abs(value) < 2**53)
