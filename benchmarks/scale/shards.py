"""Shards that are built once and kept: the real passages under them, their queries, and what an exact search finds."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.retrieval_quality import embed, read_collection
from benchmarks.scale.synthetic import (
    BLOCK,
    EVERYBODY,
    TENANT,
    Base,
    Vectors,
    block_points,
    block_vectors,
    chunk_id,
    make_base,
    part_of,
    store_of,
)
from rag.assembly import EMBEDDERS
from rag.backends.vectors.qdrant_edge import EdgeChunkStore
from rag.bm25 import BM25Encoder
from rag.documents import SparseVector
from rag.settings import load_settings

COLLECTION = "scale"
TOP = 10
PART = 7


@dataclass(frozen=True)
class Queries:
    """Real questions: their texts, vectors (n, dimension) and terms."""

    texts: list[str]
    vectors: Vectors
    terms: list[SparseVector]


async def load_base(data: Path | None, keep: Path, count: int) -> tuple[Base, Queries]:
    """Embed a set in BEIR layout with the default embedder, or read what was kept of it.

    Args:
        data: the folder of the set; not needed once it was embedded.
        keep: where the vectors are kept.
        count: of queries, evenly spaced.
    """
    kept, texts_file = keep / "base.npz", keep / "base.json"
    if not kept.exists():
        if data is None:
            raise SystemExit(f"{kept} is not there yet: say --data FOLDER, a set in BEIR layout.")
        settings = load_settings()
        module = import_module(f"rag.backends.embedders.{EMBEDDERS[settings.embedder.backend]}")
        embedder = await module.create(settings.embedder, settings.models_dir)
        collection = read_collection(data, 1000)
        documents, queries = await embed(embedder, collection)
        await embedder.close()
        keep.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 (nothing else runs)
        texts_file.write_text(json.dumps([list(collection.documents.values()), list(collection.queries.values())]))
        np.savez(kept, documents=documents, queries=queries)
    passages, questions = json.loads(texts_file.read_text())
    with np.load(kept) as stored:
        documents, queries = stored["documents"], stored["queries"]
    encoder = BM25Encoder()
    base = make_base(documents, [encoder.encode_passage(text) for text in passages])
    rows = np.linspace(0, len(questions) - 1, min(count, len(questions))).astype(int)
    texts = [questions[row] for row in rows]
    return base, Queries(texts, queries[rows], [encoder.encode_query(text) for text in texts])


async def fill(store: EdgeChunkStore, base: Base, chunks: int) -> float:
    """Write as many points; those that are there are not written again. Returns the seconds that it took."""
    begin = time.perf_counter()
    have = await store.count(EVERYBODY) + await store.count(TENANT)
    for number in range(have // BLOCK, chunks // BLOCK):
        points = sorted(block_points(base, number), key=lambda pair: pair[0])
        for store_id, some in groupby(points, key=lambda pair: pair[0]):
            await store.upsert(store_id, [point for _, point in some])
        if number % 50 == 49:
            await store.flush()
            print(f"  {(number + 1) * BLOCK} written, {time.perf_counter() - begin:.0f} s", flush=True)
    await store.flush()
    return time.perf_counter() - begin


def exact_ids(base: Base, queries: Queries, chunks: int, kept: Path) -> dict[str, list[set[str]]]:
    """The `TOP` nearest ids of each query by numpy: in the large store, in it with the filter, in the small store."""
    names = ("all", "part", "tenant")
    if not kept.exists():
        scores = {name: np.empty((len(queries.vectors), 0), np.float32) for name in names}
        numbers = {name: np.empty((len(queries.vectors), 0), np.int64) for name in names}
        for block in range(chunks // BLOCK):
            at = np.arange(block * BLOCK, (block + 1) * BLOCK)
            likeness = queries.vectors @ block_vectors(base, block)[0].T
            large = np.array([store_of(int(each)) == EVERYBODY for each in at])
            part = np.array([part_of(int(each)) == PART for each in at])
            for name, mask in (("all", large), ("part", large & part), ("tenant", ~large)):
                _keep_best(scores, numbers, name, likeness[:, mask], at[mask])
        np.savez(kept, **numbers)  # type: ignore[arg-type]
    with np.load(kept) as stored:
        return {name: [{chunk_id(int(each)) for each in row} for row in stored[name]] for name in names}


def _keep_best(
    scores: dict[str, NDArray[np.float32]],
    numbers: dict[str, NDArray[np.int64]],
    name: str,
    likeness: NDArray[np.float32],
    at: NDArray[np.int64],
) -> None:
    both = np.hstack([scores[name], likeness])
    ids = np.hstack([numbers[name], np.broadcast_to(at, likeness.shape)])
    best = np.argsort(-both, axis=1, kind="stable")[:, :TOP]
    scores[name], numbers[name] = np.take_along_axis(both, best, 1), np.take_along_axis(ids, best, 1)


def run_fill(keep: Path, base: Base, chunks: int) -> float:
    """Fill the shard of this size, without an index."""

    async def run() -> float:
        store = EdgeChunkStore(keep / str(chunks), COLLECTION, base.vectors.shape[1], index_from=0)
        try:
            return await fill(store, base, chunks)
        finally:
            await store.close()

    return asyncio.run(run())
