"""OpenAI's filters mean the same in every ChunkStore."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from api.schemas.search_filters import MAX_DEPTH, to_filter
from rag.backends.vectors.qdrant_edge import stop_worker
from rag.documents import AttributeValue
from tests.contract.test_chunk_store import BACKENDS, everything, make_store, point

CORPUS: dict[int, dict[str, AttributeValue]] = {
    1: {"n": 1}, 2: {"n": 2}, 3: {"n": 2.5}, 4: {"n": 5e-324}, 5: {"n": 0}, 6: {"n": -1.5}, 7: {"n": "2"},
    8: {"n": True}, 9: {}, 10: {"n": 2**53}, 11: {"n": 1e300}, 12: {"m": "x"},
}  # fmt: skip
LACKING = {9, 12}
COMPARISONS: list[tuple[str, Any, set[int]]] = [
    ("gt", 2, {3, 10, 11}), ("gte", 2, {2, 3, 10, 11}), ("lt", 2, {1, 4, 5, 6, 8}), ("lte", 2, {1, 2, 4, 5, 6, 8}),
    ("gt", 0, {1, 2, 3, 4, 8, 10, 11}), ("lt", 0, {6}), ("gte", 0, {1, 2, 3, 4, 5, 8, 10, 11}),
    ("gt", 2.4999999999999996, {3, 10, 11}), ("gt", 2.5, {10, 11}), ("lt", 2.5, {1, 2, 4, 5, 6, 8}),
    ("gt", 2**53 - 1, {10, 11}), ("gt", 2**53, {11}), ("lt", 2**53, {1, 2, 3, 4, 5, 6, 8}), ("gt", 1e300, set()),
    ("eq", 1, {1, 8}), ("eq", True, {1, 8}), ("eq", "2", {7}), ("eq", 2.5, {3}), ("eq", 5e-324, {4}),
    ("ne", 1, {2, 3, 4, 5, 6, 7, 10, 11} | LACKING), ("ne", "2", {1, 2, 3, 4, 5, 6, 8, 10, 11} | LACKING),
    ("in", [1, "2", 2.5], {1, 3, 7, 8}), ("in", [], set()), ("nin", [1, "2", 2.5], {2, 4, 5, 6, 10, 11} | LACKING),
    ("nin", [], set(CORPUS)),
]  # fmt: skip


def deepest() -> dict[str, Any]:
    body: dict[str, Any] = {"type": "ne", "key": "n", "value": 1}
    for level in range(MAX_DEPTH - 1):
        body = {"type": ("and", "or")[level % 2], "filters": [body, {"type": "nin", "key": "n", "value": [1]}]}
    return body


@pytest.mark.parametrize("kind", BACKENDS)
def test_every_comparison_in_every_backend(kind: str, tmp_path: Path) -> None:
    async def compare() -> None:
        store = make_store(kind, tmp_path)
        await store.upsert("s", [point(number, **held) for number, held in CORPUS.items()])
        for type_, value, wanted in COMPARISONS:
            where = to_filter({"type": type_, "key": "n", "value": value})
            assert await everything(store, "s", where) == wanted, (type_, value)
        assert await everything(store, "s", to_filter(deepest())) == set(CORPUS) - {1, 8}
        await store.close()

    asyncio.run(compare())
    if kind == "edge":
        stop_worker(tmp_path)
