"""A worker of uploads that kills itself: `python -m tests.ingest.upload_crash_victim DATA [CHECKPOINT NTH]`.

It does the jobs that wait or were stopped. All but the embedder is real, as in `crash_victim`.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from ingest.pipeline import Ingestor
from ingest.working import TO_DO
from rag.backends.vectors.qdrant_edge import EdgeChunkStore
from tests.fakes import DIMENSION, fake_engine


async def work(data: Path, fatal: str | None, nth: int) -> None:
    seen: Counter[str] = Counter()

    def checkpoint(name: str) -> None:
        seen[name] += 1
        if name == fatal and seen[name] == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    vectors = EdgeChunkStore(data, "fake", DIMENSION)
    try:
        with fake_engine(data, vectors=vectors) as engine:
            for job in reversed(engine.jobs.all()):
                if job.state in TO_DO:
                    await Ingestor(engine, checkpoint).work(job, wait=False)
    finally:
        await vectors.close()


if __name__ == "__main__":
    fatal, nth = (sys.argv[2], int(sys.argv[3])) if len(sys.argv) > 2 else (None, 0)
    asyncio.run(work(Path(sys.argv[1]), fatal, nth))
