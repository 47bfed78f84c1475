"""Folder to index: ask for a job, and do it under the store's lease."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ingest.job_run import JobRun, OnProgress
from ingest.origins import nothing_found
from ingest.outcomes import IngestSummary
from ingest.sources import root_uri, walk
from ingest.writing import Checkpoint, no_checkpoint
from rag.assembly import Engine
from rag.concurrency import in_thread
from rag.errors import IngestStoppedError, LeaseLostError
from rag.leasing import hold, store_lease
from rag.ledger.jobs import Job
from rag.ledger.stores import require_fingerprint


class Ingestor:
    """Brings stores in step with folders."""

    def __init__(self, engine: Engine, checkpoint: Checkpoint = no_checkpoint) -> None:
        self._engine = engine
        self._checkpoint = checkpoint

    async def run(
        self,
        paths: Sequence[Path],
        store: str,
        *,
        retry: bool = False,
        on_progress: OnProgress = lambda _: None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> IngestSummary:
        """Index what is new or changed below `paths`, and remove what is gone.

        Args:
            paths: files and folders.
            store: the store's name; made when there is none.
            retry: whether to try files again that failed as often as they may.
            on_progress: called after every file.
            on_wait: called when another ingest of the store has to be waited for.

        Raises:
            InvalidInputError: a path does not exist, or the store's name is malformed.
            FingerprintMismatchError: the store was embedded by another embedder.
            LeaseLostError: the store was deleted, or taken over by another process.
            StorageError, UpstreamError: the run could not go on; run it again to finish it.
        """
        job = await self.submit(paths, store, retry=retry)
        summary = await self.work(job, on_progress=on_progress, on_wait=on_wait)
        assert summary is not None, "whoever waits gets the lease"  # noqa: S101
        return summary

    async def submit(self, paths: Sequence[Path], store: str, *, retry: bool = False) -> Job:
        """Note in the ledger that these paths are to be ingested. Raises as `run`."""
        roots = [root_uri(path) for path in paths]
        names = await in_thread(self._engine.stores.names)
        if store not in names and await in_thread(next, walk(paths, self._engine.settings.ingest), None) is None:
            raise nothing_found([str(path) for path in paths])
        owner = await self._engine.open_store(store)
        return await in_thread(self._engine.jobs.submit, owner.id, roots, retry=retry)

    async def work(
        self,
        job: Job,
        *,
        on_progress: OnProgress = lambda _: None,
        on_wait: Callable[[], None] = lambda: None,
        wait: bool = True,
        stop: asyncio.Event | None = None,
    ) -> IngestSummary | None:
        """Do a job, from its beginning; what an earlier attempt has finished is found unchanged. Raises as `run`.

        Once `stop` is set it ends with IngestStoppedError between two batches, and can be taken up again.

        Returns:
            None, without `wait` only: another worker is at the store, or has done the job meanwhile.
        """
        started = time.monotonic()
        engine = self._engine
        store = await in_thread(engine.stores.get, job.store)
        require_fingerprint(store, engine.embedder.fingerprint)
        lease_name, data_dir = store_lease(job.store_id), engine.settings.data_dir
        async with hold(engine.leases, data_dir, lease_name, on_wait=on_wait, wait=wait) as lease:
            if lease is None or (not wait and (await in_thread(engine.jobs.get, job.id)).state == "done"):
                return None
            run = JobRun(engine, job, lease, self._checkpoint, on_progress, stop)
            try:
                summary = await run.all()
                summary.seconds = time.monotonic() - started
                await run.finish(summary)
            except (LeaseLostError, IngestStoppedError):
                raise
            except Exception as error:
                await run.fail(error)
                raise
        return summary
