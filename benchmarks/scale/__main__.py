"""Latency, recall and memory of search over shards of growing size, as the product searches them.

    python -m benchmarks.scale --data FOLDER --keep FOLDER --chunks 1000 10000 100000 1000000

--data is a set in BEIR layout, whose passages and queries are embedded by the default embedder; more points are drawn
between its passages (benchmarks/scale/synthetic.py). Shards are kept in --keep, and a second run measures at once.
Each size is measured exact, then with an index (--kinds). A hybrid search asks for `retrieval.candidates` of both lists
in one call of EdgeChunkStore; embedding the same queries is timed beside it. Recall is of the ten nearest by numpy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import time
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.scale.shards import COLLECTION, PART, TOP, Queries, exact_ids, load_base, run_fill
from benchmarks.scale.synthetic import EVERYBODY, TENANT, Base
from rag.assembly import EMBEDDERS
from rag.backends.vectors.edge_process import Workplace
from rag.backends.vectors.qdrant_edge import EdgeChunkStore, stop_worker
from rag.filters import Eq, Filter
from rag.settings import load_settings

KINDS = ("exact", "index", "quantised")
EVERYTHING = (EVERYBODY, TENANT)
# The store, whether by words, too, a filter, what is nearest, and the stores whose words are counted together.
SEARCHES: dict[str, tuple[str, bool, Filter | None, str, tuple[str, ...]]] = {
    "dense": (EVERYBODY, False, None, "all", ()),
    "hybrid, as if the only store": (EVERYBODY, True, None, "all", EVERYTHING),
    "hybrid, beside another store": (EVERYBODY, True, None, "all", ()),
    "hybrid, 2 % by attribute": (EVERYBODY, True, Eq("part", PART), "part", EVERYTHING),
    "hybrid, store of 2 %": (TENANT, True, None, "tenant", ()),
}


def prepare(keep: Path, base: Base, chunks: int, kind: str, wait_seconds: float) -> Path:
    """A data folder with this many points, indexed as `kind` says; built where it is not there yet."""
    plain = keep / str(chunks)
    if not (plain / "filled").exists():
        print(f"filled {chunks} in {run_fill(keep, base, chunks):.0f} s", flush=True)
        stop_worker(plain)
        (plain / "filled").touch()
    if kind == "exact":
        return plain
    folder = keep / f"{chunks}-{kind}"
    if not (folder / "filled").exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(plain / "vectors" / COLLECTION, folder / "vectors" / COLLECTION)
        asyncio.run(_index(folder, base.vectors.shape[1], kind, wait_seconds))
        stop_worker(folder)
        (folder / "filled").touch()
    return folder


async def _index(folder: Path, dimension: int, kind: str, wait_seconds: float) -> None:
    """Let the worker build, and search meanwhile, so that what a search waits for the build is seen."""
    store = EdgeChunkStore(folder, COLLECTION, dimension, index_from=1, quantised=kind == "quantised")
    draw, waits = np.random.default_rng(1), []
    log, deadline = Workplace.of(folder).log, time.monotonic() + wait_seconds
    await store.count(EVERYBODY)
    while not (said := re.search(rf"indexed {COLLECTION}: .*", log.read_text())):
        if time.monotonic() > deadline:
            raise SystemExit(f"no index after {wait_seconds:.0f} s: {log}")
        query = draw.standard_normal(dimension).astype(np.float32)
        begin = time.perf_counter()
        await store.search(EVERYBODY, query, None, 10)
        waits.append(time.perf_counter() - begin)
        await asyncio.sleep(0.1)
    print(f"{said.group()}; the longest search meanwhile {max(waits):.2f} s", flush=True)
    await store.close()


async def measure(folder: Path, queries: Queries, exact: dict[str, list[set[str]]], runs: int) -> list[list[str]]:
    """A row for each kind of search: p50 and p99 in ms, medians of so many runs over all queries, and recall.

    A run before those reads what the system has not in memory.
    """
    candidates = load_settings().retrieval.candidates
    store = EdgeChunkStore(folder, COLLECTION, queries.vectors.shape[1], timeout_seconds=600)
    rows = []
    for name, (store_id, hybrid, where, nearest, together) in SEARCHES.items():
        p50, p99, recall = [], [], 0.0
        for _ in range(1 + runs):
            seconds, shares = [], []
            for vector, terms, wanted in zip(queries.vectors, queries.terms, exact[nearest], strict=True):
                begin = time.perf_counter()
                sparse = terms if hybrid else None
                found = await store.search(store_id, vector, sparse, candidates, where, None, together)
                seconds.append(time.perf_counter() - begin)
                shares.append(len({each.chunk_id for each in found.dense[:TOP]} & wanted) / len(wanted))
            p50.append(np.percentile(seconds, 50) * 1000)
            p99.append(np.percentile(seconds, 99) * 1000)
            recall = float(np.mean(shares))
        rows.append([name, f"{np.median(p50[1:]):.2f}", f"{np.median(p99[1:]):.2f}", f"{recall:.4f}"])
    await store.close()
    return rows


async def embedding_time(texts: list[str]) -> str:
    """How long the default embedder takes for one query."""
    settings = load_settings()
    embedder = await import_module(f"rag.backends.embedders.{EMBEDDERS[settings.embedder.backend]}").create(
        settings.embedder, settings.models_dir
    )
    await embedder.embed_query("warm up")
    seconds = []
    for text in texts:
        begin = time.perf_counter()
        await embedder.embed_query(text)
        seconds.append(time.perf_counter() - begin)
    await embedder.close()
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return f"embedding a query: p50 {p50:.2f} ms, p99 {p99:.2f}"


def worker_memory(folder: Path) -> str:
    """Resident memory of the worker: its own, and the files that it has mapped."""
    pid = json.loads(Workplace.of(folder).address_file.read_text())["pid"]
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return " + ".join(f"{int(status[name].split()[0]) / 1024:.0f}" for name in ("RssAnon", "RssFile"))


def disk_megabytes(folder: Path) -> float:
    """What the folder's files take on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    """Parse the arguments, build what is missing, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--data", type=Path, help="a set in BEIR layout, e.g. SciFact; not needed again")
    parser.add_argument("--keep", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--build-seconds", type=float, default=6 * 3600, help="the longest that an index may take")
    arguments = parser.parse_args()
    base, queries = asyncio.run(load_base(arguments.data, arguments.keep, arguments.queries))
    print(
        f"{len(base.vectors)} real passages, {len(queries.texts)} queries; {asyncio.run(embedding_time(queries.texts))}"
    )
    lines = [
        "| chunks | kind | search | p50 ms | p99 ms | recall@10 | memory MB, own + files | disk MB |",
        "| " + "--: | " * 8,
    ]
    for chunks in arguments.chunks:
        exact = exact_ids(base, queries, chunks, arguments.keep / f"exact-{chunks}-{len(queries.texts)}.npz")
        for kind in arguments.kinds:
            folder = prepare(arguments.keep, base, chunks, kind, arguments.build_seconds)
            rows = asyncio.run(measure(folder, queries, exact, arguments.runs))
            size = f"{worker_memory(folder)} | {disk_megabytes(folder / 'vectors'):.0f}"
            lines += [f"| {chunks} | {kind} | {' | '.join(row)} | {size} |" for row in rows]
            print("\n".join(lines[-len(rows) :]), flush=True)
            stop_worker(folder)
    print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
