"""An ingest that kills itself: `python -m tests.ingest.crash_victim DATA DOCS [CHECKPOINT NTH]`.

The engine, the ledger, the parsers and their sandbox are real; the embedder counts words, so that a run is short.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from ingest.pipeline import Ingestor
from rag.backends.vectors.qdrant_edge import EdgeChunkStore
from tests.fakes import DIMENSION, fake_engine


async def ingest(data: Path, docs: Path, fatal: str | None, nth: int) -> None:
    seen: Counter[str] = Counter()

    def checkpoint(name: str) -> None:
        seen[name] += 1
        if name == fatal and seen[name] == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    vectors = EdgeChunkStore(data, "fake", DIMENSION)
    try:
        with fake_engine(data, vectors=vectors) as engine:
            summary = await Ingestor(engine, checkpoint).run([docs], "default")
    finally:
        await vectors.close()
    sys.stdout.write(f"{summary.as_dict()}\n")


if __name__ == "__main__":
    fatal, nth = (sys.argv[3], int(sys.argv[4])) if len(sys.argv) > 3 else (None, 0)
    asyncio.run(ingest(Path(sys.argv[1]), Path(sys.argv[2]), fatal, nth))
