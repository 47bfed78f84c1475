"""Compare ledger, vector store and disk, and set right what disagrees."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ingest.comparison import Comparison, pages
from ingest.digest import content_digest
from ingest.examination import DocumentExaminer, notes_of, stray_findings
from ingest.findings import Examination, Finding, Note
from ingest.freshness import Disk
from ingest.refreshing import lacking_uploads
from ingest.repair import Repair
from rag.assembly import Engine, collection_name
from rag.concurrency import in_thread
from rag.documents import store_id
from rag.errors import FingerprintMismatchError, InvalidInputError, StoreNotFoundError
from rag.leasing import hold, store_lease
from rag.ledger.inspection import Inspection, Row
from rag.ledger.leases import Lease
from rag.ledger.stores import require_fingerprint
from rag.protocols import Fingerprint

OnWait = Callable[[], None]

NAMED = 100  # files, in a note


@dataclass(frozen=True, slots=True)
class Treatment:
    """A store before and after a repair."""

    before: Examination
    after: Examination


class Doctor:
    """Examines and repairs stores, while no ingest writes to them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def examine(self, store: str, *, on_wait: OnWait = lambda: None) -> Examination:
        """Find what is wrong with a store, and change nothing.

        Args:
            store: its name.
            on_wait: called when an ingest of the store has to be waited for.

        Raises:
            StoreNotFoundError: there is no such store.
            StorageUnavailableError: the ledger or the vector store cannot be reached.
        """
        patient = await self._patient(store)
        async with self._held(patient, on_wait):
            return await self._examine(patient)

    async def repair(self, store: str, *, on_wait: OnWait = lambda: None) -> Treatment:
        """Set right what is wrong with a store, and examine it again.

        Raises:
            StoreNotFoundError: there is no such store.
            LeaseLostError: the store was deleted, or taken over by another process.
            StorageError, UpstreamError: the repair could not go on; run it again to finish it.
        """
        patient = await self._patient(store)
        async with self._held(patient, on_wait) as lease:
            before = await self._examine(patient)
            if before.is_healthy or not patient.can_be_repaired:
                return Treatment(before, before)
            if patient.fault:
                mending = self._engine.documents.under_lease(lease).mending(patient.id)
                await in_thread(mending.restore_store, self._engine.collection, self._engine.embedder.fingerprint)
            repair = Repair(self._engine, await in_thread(self._engine.stores.get, store), lease)
            job = await repair.plan() if before.needs_reading else None
            await repair.rows()
            await repair.points()
        await repair.read_again(job, on_wait)
        return Treatment(before, await self.examine(store, on_wait=on_wait))

    async def digest(self, store: str, *, on_wait: OnWait = lambda: None) -> str:
        """The digest of what a store holds. See ingest.digest.

        Raises:
            StoreNotFoundError: there is no such store.
            FingerprintMismatchError: the store was embedded by another embedder.
        """
        found = await in_thread(self._engine.stores.get, store)
        require_fingerprint(found, self._engine.embedder.fingerprint)
        async with self._held(await self._patient(store), on_wait):
            return await content_digest(self._engine, found)

    async def _patient(self, store: str) -> _Patient:
        names = await in_thread(self._engine.stores.names)
        if store not in names:
            raise StoreNotFoundError(store, names)
        identity = await in_thread(self._engine.stores.identity, store)
        inspection = self._engine.documents.inspection(identity)
        row = await in_thread(lambda: inspection.store_row() or {})
        return _Patient(self._engine, store, identity, inspection, row)

    @asynccontextmanager
    async def _held(self, patient: _Patient, on_wait: OnWait) -> AsyncIterator[Lease]:
        engine, name = self._engine, store_lease(patient.id)
        stuck = await in_thread(patient.inspection.has_stuck_lease)
        if stuck:
            await in_thread(engine.documents.mending(patient.id).drop_lease)
        async with hold(engine.leases, engine.settings.data_dir, name, on_wait=on_wait) as lease:
            assert lease is not None, "whoever waits gets it"  # noqa: S101
            patient.had_stuck_lease = stuck
            yield lease

    async def _examine(self, patient: _Patient) -> Examination:
        engine, inspection = self._engine, patient.inspection
        found = Examination(patient.name)
        if patient.had_stuck_lease:
            message = "The store's lease was nonsense, or had an end that none can have; it was dropped."
            found.add(Finding("orphaned", message, "", (store_lease(patient.id),)))
        if patient.fault:
            found.add(patient.fault)
            return found
        if patient.id != store_id(patient.name):
            found.note(Note("renamed", "The store's id is not that of its name: it was renamed by hand."))
        async for strays in pages(stray_findings(inspection)):
            for finding in strays:
                found.add(finding)
        disk = await in_thread(Disk, engine, inspection)
        examiner = DocumentExaminer(patient.id, inspection, disk)
        lacking = lacking_uploads(engine, patient.id, inspection)
        async for page in pages(chain(examiner.findings(), lacking)):
            for finding in page:
                found.add(finding)
        await _note_unread(found, disk)
        async for finding in Comparison(patient.id, inspection, engine.vectors).findings():
            found.add(finding)
        for uri, message in examiner.closed:
            found.note(Note("closed", f"The file cannot be compared at present. {message}", (uri,)))
        async for notes in pages(notes_of(inspection)):
            for note in notes:
                found.note(note)
        return found


async def _note_unread(found: Examination, disk: Disk) -> None:
    """Files that came after the last ingest, or that were removed from the store: no fault, since that is usual."""
    first: list[str] = []
    count = 0
    try:
        async for uris in pages(disk.unread()):
            count += len(uris)
            first += uris[: NAMED - len(first)]
    except InvalidInputError as error:
        found.add(Finding("unreadable", str(error)))
    if count:
        found.note(Note("unread", f"{count} files are not read yet; `quoth sync` reads them.", tuple(first)))


class _Patient:
    """A store, and what is wrong with its own row."""

    def __init__(self, engine: Engine, name: str, identity: str, inspection: Inspection, row: Row) -> None:
        self.name = name
        self.id = identity
        self.inspection = inspection
        self.had_stuck_lease = False
        self.fault = _store_fault(engine, name, row)
        self.can_be_repaired = self.fault is None or self.fault.kind == "altered"


def _store_fault(engine: Engine, name: str, row: Row) -> Finding | None:
    """What is wrong with a store's row. The collection's name is a hash of the fingerprint, so one proves the other."""
    ours = engine.embedder.fingerprint
    made = _fingerprint(row.get("fingerprint"))
    if made == ours and row.get("collection") == engine.collection:
        return None
    if made == ours or row.get("collection") == collection_name(ours):
        message = "The store's own row does not say which embedder made it, or in which collection its points are."
        return Finding("altered", message, "", (name,))
    if made is None:
        message = (
            "The store's own row does not say which embedder made it. "
            f"Make it anew: quoth stores delete {name}, then quoth ingest."
        )
        return Finding("mismatched", message, "", (name,))
    try:
        require_fingerprint(engine.stores.get(name), ours)
    except FingerprintMismatchError as error:
        return Finding("mismatched", str(error), "", (name,))
    return None


def _fingerprint(text: Any) -> Fingerprint | None:
    try:
        return Fingerprint(**json.loads(text))
    except (TypeError, ValueError):
        return None
