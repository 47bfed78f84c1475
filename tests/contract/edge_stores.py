"""The stores that are compared with each other: memory, the Edge engine, and the server's client in its local mode."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient

from rag.backends.vectors.memory import MemoryChunkStore
from rag.backends.vectors.qdrant_edge import EdgeChunkStore, stop_worker
from rag.backends.vectors.qdrant_server import ServerChunkStore
from rag.protocols import ChunkStore

KINDS = [
    "edge",
    pytest.param("local", marks=pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")),
]


# What people ask, and what programs do.
QUESTIONS = {
    "one word": "trains",
    "a sentence": "Which class are trains booked in?",
    "ten thousand words": "who books trains in which class of which company " * 1112,
    "ten thousand different words": " ".join(f"word{number}" for number in range(10_000)) + " trains",
    "stop words alone": "the of and a in",
    "signs alone": "?!… -- ()",
    "emoji alone": "🚆 🎉",
    "Cyrillic": "Кто бронирует поезда",
    "Japanese": "列車の予約",
    "Thai": "รถไฟ",
    "Arabic": "قطار الدرجة الثانية",
    "half a surrogate pair": "trains \ud800 class",
    "a NUL byte": "trains\x00class",
    "a very long word": "x" * 5000,
    "unknown words": "zygote quixotic",
    "one repeated word": "trains " * 50,
}


def open_store(kind: str, folder: Path, dimension: int) -> ChunkStore:
    """A new, empty store; the Edge ones of a folder share its worker."""
    match kind:
        case "memory":
            return MemoryChunkStore(dimension)
        case "edge":
            return EdgeChunkStore(folder, f"c{uuid.uuid4().hex}", dimension, idle_seconds=30)
    return ServerChunkStore(AsyncQdrantClient(":memory:"), "chunks", dimension)


@contextmanager
def edge_folder(folder: Path) -> Iterator[Path]:
    """A data folder whose worker is stopped behind it."""
    yield folder
    stop_worker(folder)


def with_stores(
    kind: str, folder: Path, dimension: int, use: Callable[[ChunkStore, ChunkStore], Awaitable[None]]
) -> None:
    """Run `use(memory, other)` with two new stores."""

    async def run() -> None:
        exact, other = open_store("memory", folder, dimension), open_store(kind, folder, dimension)
        try:
            await use(exact, other)
        finally:
            await other.close()

    asyncio.run(run())
