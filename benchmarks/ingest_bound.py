"""What an ingest costs besides embedding: `python -m benchmarks.ingest_bound FOLDER [--runs 3] [--only .md .pdf]`.

In one process, turn about: the whole ingest of the folder into a new data directory (find, parse, chunk, embed, write,
count), and the embedder alone over the very texts that the ingest embedded. Both begin warm. Printed are wall and CPU
seconds of each and the ratio of the medians; the goal is 1.15 at most.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.pipeline import Ingestor
from rag.assembly import Engine, make_engine, open_engine
from rag.backends.vectors.edge_process import stop_worker
from rag.backends.vectors.qdrant_edge import EdgeChunkStore
from rag.ledger.connection import connect
from rag.protocols import Embedder, Fingerprint, Tokenizer
from rag.settings import load_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Recording:
    """An embedder that remembers what it was asked."""

    def __init__(self, embedder: Embedder) -> None:
        self.texts: list[str] = []
        self._embedder = embedder

    @property
    def fingerprint(self) -> Fingerprint:
        return self._embedder.fingerprint

    @property
    def max_tokens(self) -> int:
        return self._embedder.max_tokens

    @property
    def tokenizer(self) -> Tokenizer:
        return self._embedder.tokenizer

    async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        return await self._embedder.embed_passages(texts)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        return await self._embedder.embed_query(text)

    async def close(self) -> None:
        """The embedder is closed by its owner."""


async def ingest(folder: Path, embedder: Embedder, engine: Engine) -> None:
    """One ingest into a data directory that goes with it."""
    data = Path(tempfile.mkdtemp(prefix="quoth-bench-"))
    settings = load_settings({"data_dir": data})
    ledger = connect(data)
    vectors = EdgeChunkStore(data, engine.collection, embedder.fingerprint.dimension)
    try:
        own = make_engine(settings, ledger, vectors, embedder, engine.collection)
        await Ingestor(own).run([folder], "default")
    finally:
        await vectors.close()
        ledger.dispose()
        stop_worker(data)
        shutil.rmtree(data)


def cpu_seconds() -> float:
    """Of this process, and of those that it has started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


async def measure(folder: Path, runs: int) -> None:
    """Print the table."""
    walls: dict[str, list[float]] = {"ingest": [], "embedder": []}
    with tempfile.TemporaryDirectory() as scratch:
        async with open_engine(load_settings({"data_dir": Path(scratch)})) as engine:
            recording = Recording(engine.embedder)
            await ingest(folder, recording, engine)  # warms everything up
            texts = list(recording.texts)
            print(f"{folder.name}: {len(texts)} texts embedded, {sum(map(len, texts)) / 1e6:.2f} MB")
            for _ in range(runs):
                for name, times in walls.items():
                    cpu, wall = cpu_seconds(), time.perf_counter()
                    if name == "ingest":
                        await ingest(folder, engine.embedder, engine)
                    else:
                        for start in range(0, len(texts), 256):
                            await engine.embedder.embed_passages(texts[start : start + 256])
                    times.append(time.perf_counter() - wall)
                    print(f"  {name:<9} {times[-1]:7.2f} s wall {cpu_seconds() - cpu:7.2f} s CPU", flush=True)
    medians = {name: statistics.median(values) for name, values in walls.items()}
    print(
        f"  median {medians['ingest']:.2f} / {medians['embedder']:.2f} = {medians['ingest'] / medians['embedder']:.3f}"
    )


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="suffixes; the other files are left out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder
        if arguments.only:
            folder = Path(scratch) / folder.name
            for path in arguments.folder.rglob("*"):
                if path.suffix.lower() in arguments.only and path.is_file():
                    copy = folder / path.relative_to(arguments.folder)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, copy)
        asyncio.run(measure(folder, arguments.runs))


if __name__ == "__main__":
    main()
