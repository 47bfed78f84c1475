"""The worker of a serving process: does the jobs that wait while questions are being answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from types import TracebackType
from typing import Self

from ingest.origins import is_of_uploads
from ingest.outcomes import IngestSummary
from ingest.pipeline import Ingestor
from ingest.working import TO_DO
from rag.assembly import Engine
from rag.concurrency import in_thread
from rag.errors import IngestStoppedError, LeaseLostError, QuothError, StorageError
from rag.ledger.jobs import Job

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
MOST_ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 5.0


class BackgroundWorker:
    """Does an engine's jobs, the oldest first, until the context is left.

        async with BackgroundWorker(engine) as worker:
            worker.wake()

    Several may share a ledger: a store's lease lets one of them in. On exit the job in hand stops between two batches;
    whoever comes next goes on with it. A job of uploads that cannot go on is tried a few times if time may help, and
    then its files are said to have failed; a folder's job is left as failed for its owner to see.
    """

    def __init__(self, engine: Engine, poll_seconds: float = POLL_SECONDS) -> None:
        self._engine = engine
        self._ingestor = Ingestor(engine)
        self._poll_seconds = poll_seconds
        self._stop = asyncio.Event()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failed: dict[str, _Failure] = {}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="ingest worker")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._work.set()
        if self._task:
            await self._task

    def wake(self) -> None:
        """Look for work now."""
        self._work.set()

    async def _run(self) -> None:
        while not self._stop.is_set():
            self._work.clear()
            try:
                await self._work_off()
            except IngestStoppedError:
                return
            except QuothError as error:
                logger.warning("the ledger cannot be asked for jobs at present: %s", error)
            except Exception:
                # The edge of a worker: one job must not keep all later ones from being done.
                logger.exception("a job failed unexpectedly")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._work.wait(), self._poll_seconds)

    async def _work_off(self) -> None:
        """Do every job that is due, each once."""
        tried: set[str] = set()
        while not self._stop.is_set() and (job := await in_thread(self._next, tried)) is not None:
            tried.add(job.id)
            try:
                summary = await self._ingestor.work(job, wait=False, stop=self._stop)
            except (IngestStoppedError, LeaseLostError) as error:
                logger.info("job %s: %s", job.id, error)
            except QuothError as error:
                await self._on_failure(job, error)
            except Exception as error:
                await self._on_failure(job, error)
                raise
            else:
                self._failed.pop(job.id, None)
                if summary is not None:
                    _tell(job, summary)

    def _next(self, tried: set[str]) -> Job | None:
        due = [job for job in self._engine.jobs.all() if job.id not in tried and self._is_due(job)]
        return due[-1] if due else None

    def _is_due(self, job: Job) -> bool:
        if job.state in TO_DO:
            return True
        if job.state != "failed" or not is_of_uploads(job):
            return False
        failure = self._failed.get(job.id)
        if failure is None:  # another process has failed in it
            return self._engine.store_files.has_todo(job.store_id, job.id)
        return not failure.is_final and time.monotonic() >= failure.not_before

    async def _on_failure(self, job: Job, error: Exception) -> None:
        logger.warning("job %s failed: %s", job.id, error)
        if not is_of_uploads(job):
            return
        failure = self._failed.setdefault(job.id, _Failure())
        failure.attempts += 1
        failure.not_before = time.monotonic() + FIRST_PAUSE_SECONDS * 2 ** (failure.attempts - 1)
        passing = isinstance(error, QuothError) and error.retryable
        if passing and failure.attempts < MOST_ATTEMPTS:
            return
        failure.is_final = True
        message = str(error) if isinstance(error, QuothError) else "Something unexpected failed; the log says what."
        try:
            await in_thread(self._engine.store_files.fail_all, job.store_id, job.id, message)
        except StorageError as second:
            failure.is_final = False
            logger.warning("the failed files could not be noted: %s", second)


class _Failure:
    """How often a job has failed here, and when it is tried again."""

    def __init__(self) -> None:
        self.attempts = 0
        self.not_before = 0.0
        self.is_final = False


def _tell(job: Job, summary: IngestSummary) -> None:
    logger.info(
        "job %s: %d indexed, %d unchanged, %d skipped, %d failed in %.1f s", job.id, summary.indexed,
        summary.unchanged, summary.skipped.total(), summary.failed.total(), summary.seconds,
    )  # fmt: skip
