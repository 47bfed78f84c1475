"""Work off the jobs that wait: any number of workers may do so at once, one at a time in each store."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ingest.outcomes import IngestSummary
from ingest.pipeline import Ingestor
from rag.assembly import Engine
from rag.concurrency import in_thread
from rag.errors import QuothError
from rag.ledger.jobs import Job

logger = logging.getLogger(__name__)

# A job that runs may have been left by a process that was killed a moment ago: the store's lease will tell.
TO_DO = ("waiting", "stopped", "running")

OnDone = Callable[[Job, IngestSummary | QuothError], None]


async def work_off(engine: Engine, on_done: OnDone = lambda *_: None) -> int:
    """Do every job that waits or was stopped in the middle, the oldest first.

    A job that another worker does is left to it, and one that fails is left as failed; both do not keep the others
    from being done.

    Args:
        engine: whose embedder the stores were made with.
        on_done: called after each job with what it came to.

    Returns:
        How many jobs were done or have failed.
    """
    ingestor = Ingestor(engine)
    tried: set[str] = set()
    done = 0
    while (job := await in_thread(_next, engine, tried)) is not None:
        tried.add(job.id)
        try:
            summary = await ingestor.work(job, wait=False)
        except QuothError as error:
            logger.warning("job %s failed: %s", job.id, error)
            on_done(job, error)
            done += 1
        else:
            if summary is not None:
                on_done(job, summary)
                done += 1
    return done


def _next(engine: Engine, tried: set[str]) -> Job | None:
    waiting = [job for job in engine.jobs.all() if job.state in TO_DO and job.id not in tried]
    return waiting[-1] if waiting else None
