"""Many small files: `python -m benchmarks.ingest_scale [--files 1000 20000] [--unchanged 10000]`.

The first part ingests so many documents of about a hundred words, each into a new data directory, with an embedder
that hashes words, so that what grows is the ingest's own, and prints the peak resident memory of the process that
ingests. The second part ingests a folder with the real embedder, then times `quoth ingest` over it again, whole
processes, nothing changed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.pipeline import Ingestor
from rag.assembly import make_engine
from rag.backends.vectors.edge_process import stop_worker
from rag.backends.vectors.qdrant_edge import EdgeChunkStore
from rag.ledger.connection import connect
from rag.protocols import Fingerprint
from rag.settings import load_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
DIMENSION = 384
WORDS = [
    "pump", "valve", "seal", "motor", "filter", "pressure", "flow", "water", "oil", "gasket", "bearing", "shaft",
    "impeller", "casing", "torque", "gauge", "leak", "noise", "start", "stop", "check", "replace", "clean", "every",
]  # fmt: skip


class HashingEmbedder:
    """Counts words by hash."""

    fingerprint = Fingerprint("hashing", "1", "none", "", "", "sum", True, DIMENSION)
    max_tokens = 256

    @property
    def tokenizer(self) -> HashingEmbedder:
        return self

    def count(self, text: str) -> int:
        return len(text.split())

    def offsets(self, text: str) -> list[tuple[int, int]]:
        found, place = [], 0
        for word in text.split():
            place = text.index(word, place)
            found.append((place, place + len(word)))
            place += len(word)
        return found

    async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._embed(text) for text in texts])

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        return self._embed(text)

    async def close(self) -> None:
        """Nothing is held."""

    def _embed(self, text: str) -> NDArray[np.float32]:
        vector = np.full(DIMENSION, 0.01, np.float32)
        for word in text.split():
            vector[zlib.crc32(word.encode()) % DIMENSION] += 1
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


def write_files(folder: Path, count: int, words: int) -> None:
    """Files with text of their own, a hundred a folder."""
    draw = random.Random(7)  # noqa: S311 - the same files every time
    for number in range(count):
        below = folder / f"{number // 100:04}"
        below.mkdir(parents=True, exist_ok=True)
        text = " ".join(draw.choices(WORDS, k=words))
        (below / f"{number:06}.md").write_text(f"# Note {number}\n\nNumber {number}: {text}.\n")
    subprocess.run(["find", str(folder), "-exec", "touch", "-d", "1 hour ago", "{}", "+"], check=True)  # noqa: S607


async def ingest_once(folder: Path, data: Path) -> None:
    """One ingest with the hashing embedder."""
    embedder = HashingEmbedder()
    ledger = connect(data)
    vectors = EdgeChunkStore(data, "bench", DIMENSION)
    try:
        engine = make_engine(load_settings({"data_dir": data}), ledger, vectors, embedder, "bench")
        started = time.perf_counter()
        summary = await Ingestor(engine).run([folder], "default")
        seconds = time.perf_counter() - started
    finally:
        await vectors.close()
        ledger.dispose()
        stop_worker(data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = summary.found / seconds
    print(f"{summary.found:>7} documents {seconds:8.1f} s {rate:7.0f} files/s   peak {peak:6.0f} MB", flush=True)


def measure_memory(counts: Sequence[int]) -> None:
    """One process for each count, because a peak never shrinks."""
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="quoth-bench-") as scratch:
            write_files(Path(scratch) / "docs", count, 100)
            command = [sys.executable, "-m", "benchmarks.ingest_scale", "--in", scratch]
            subprocess.run(command, check=True, cwd=ROOT)


def measure_unchanged(count: int, runs: int) -> None:
    """Whole processes, as a user starts them."""
    with tempfile.TemporaryDirectory(prefix="quoth-bench-") as scratch:
        docs, data = Path(scratch) / "docs", Path(scratch) / "data"
        write_files(docs, count, 4)
        command = [sys.executable, "-m", "cli.main", "ingest", str(docs), "--json"]
        environment = {**os.environ, "QUOTH_DATA_DIR": str(data)}
        walls = []
        for _ in range(runs + 1):
            started = time.perf_counter()
            done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
            walls.append(time.perf_counter() - started)
        stop_worker(data)
        print(f"first ingest of {count} files of a line: {walls[0]:.1f} s")
        print(f"again, unchanged: median {statistics.median(walls[1:]):.2f} s of {runs} ({done.stdout.strip()})")
        shutil.rmtree(data)


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, nargs="*", default=[1000, 20000])
    parser.add_argument("--unchanged", type=int, default=10000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--in", dest="scratch", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.scratch:
        asyncio.run(ingest_once(arguments.scratch / "docs", arguments.scratch / "data"))
        return
    measure_memory(arguments.files)
    if arguments.unchanged:
        measure_unchanged(arguments.unchanged, arguments.runs)


if __name__ == "__main__":
    main()
