"""The ledger's own rows, and each document against its file."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ingest.duplicates import HASHES, near_duplicates
from ingest.findings import Action, Finding, Kind, Note, printable
from ingest.freshness import Disk, Freshness
from rag.documents import chunk_id, document_id
from rag.errors import QuothError
from rag.ledger.documents import DocumentRecord, digest_of
from rag.ledger.inspection import Inspection, Row

logger = logging.getLogger(__name__)

_NUMBERS = ("size_bytes", "mtime_ns", "checked_ns")
_TEXTS = ("id", "uri", "title", "media_type", "source_sha256", "recipe", "generation")
_JSON = ("headings", "locator", "blocks")
_STALE: dict[str, Action] = {
    "changed": "read", "reread": "read", "rootless": "read", "gone": "drop", "left_out": "drop", "refused": "drop",
}  # fmt: skip


def stray_findings(inspection: Inspection) -> Iterator[Finding]:
    """Rows that belong to nothing."""
    for stray in inspection.strays():
        kind: Kind = "unembedded" if stray.state == "writing" else "orphaned"
        key = tuple(printable(part) for part in stray.key)
        # What an ingest left behind, its own job finishes; for the others a document or a refusal may be lacking now.
        lacking = stray.table in ("chunks", "refusals") or (stray.table == "generations" and not stray.state)
        action: Action = "read" if lacking else "none"
        yield Finding(kind, f"A row of {stray.table} {stray.why}.", printable(stray.uri), key, action)


class DocumentExaminer:
    """Examines the documents of a store, one after the other."""

    def __init__(self, store_id: str, inspection: Inspection, disk: Disk) -> None:
        self._store_id = store_id
        self._inspection = inspection
        self._disk = disk
        self.closed: list[tuple[str, str]] = []

    def findings(self) -> Iterator[Finding]:
        """What is wrong with each document; files that cannot be looked at are noted in `closed`."""
        for row in self._inspection.documents():
            try:
                found = list(self._judge(row))
            except QuothError:
                raise
            except Exception as error:
                # The edge of one document: whatever its rows hold, the others are examined.
                logger.debug("a document's rows cannot be read", exc_info=True)
                found = [_about("altered", f"Its rows cannot be read ({type(error).__name__}).", row, "drop")]
            yield from found

    def _judge(self, row: Row) -> Iterator[Finding]:
        if row["store_id"] != self._store_id:
            yield _about("orphaned", "The document belongs to a store that is not there.", row, "drop")
            return
        if not isinstance(row["uri"], str) or document_id(self._store_id, row["uri"]) != row["id"]:
            yield _about("orphaned", "The document's id is not that of its URI in this store.", row, "drop")
            return
        wrong = self._rows_of(row)
        if wrong:
            yield from wrong
            return
        record = DocumentRecord(**{**_decoded(row), "groups": tuple(json.loads(row["groups"]))})
        if record.digest is None:
            yield _about("outdated", "An older version of Quoth has written it, without a digest.", row, "unsettle")
        freshness = self._disk.judge(record)
        if freshness.verdict == "closed":
            self._close(row["uri"], freshness)
        elif freshness.verdict == "lost":
            # What was read of it can still be found and cited, so that nothing is dropped.
            yield _about("unreadable", freshness.message, row, "none")
        elif freshness.verdict != "fresh":
            yield _about("stale", freshness.message, row, _STALE[freshness.verdict])

    def _close(self, uri: str, freshness: Freshness) -> None:
        if len(self.closed) < 100:
            self.closed.append((uri, freshness.message))

    def _rows_of(self, row: Row) -> list[Finding]:
        """What is wrong with a document's own row, its text and its chunks."""
        if not (all(type(row[name]) is int for name in _NUMBERS) and all(isinstance(row[n], str) for n in _TEXTS)):
            return [_about("altered", "A field of its row is not of its type.", row, "drop")]
        if not (row["sketch"] is None or (isinstance(row["sketch"], bytes) and len(row["sketch"]) == 4 * HASHES)):
            return [_about("altered", "The sketch of its words is none.", row, "drop")]
        generation = self._inspection.generation(row["id"], row["generation"])
        if generation is None or not isinstance(generation["text"], str):
            return [_about("altered", "Its text is not there.", row, "drop")]
        found = []
        if generation["state"] != "active":
            message = f"The text that queries see is marked as {printable(generation['state'])!r}."
            found.append(_about("unembedded", message, row, "none"))
        chunks = self._inspection.chunks_of(row["id"], row["generation"])
        wrong = list(_wrong_chunks(row, chunks, generation["text"]))
        if wrong or row["digest"] is None:
            return found + wrong
        for chunk in chunks:
            chunk.update({name: json.loads(chunk[name]) for name in _JSON})
        if digest_of(_decoded(row), generation["text"], chunks) != row["digest"]:
            message = "The document, its text or its chunks are not what was written: the digest does not fit."
            found.append(_about("altered", message, row, "drop"))
        return found


def _decoded(row: Row) -> dict[str, Any]:
    return {**row, "attributes": json.loads(row["attributes"]), "groups": json.loads(row["groups"])}


def _wrong_chunks(row: Row, chunks: list[dict[str, Any]], text: str) -> Iterator[Finding]:
    ordinals = Counter(chunk["ordinal"] for chunk in chunks)
    if not chunks:
        yield _about("altered", "It has no chunks.", row, "drop")
    for chunk in chunks:
        name = (printable(chunk["id"]),)
        ordinal, start, end = chunk["ordinal"], chunk["char_start"], chunk["char_end"]
        if any(type(number) is not int for number in (ordinal, start, end)):
            yield _about("altered", "A chunk's place is no number.", row, "drop", name)
        elif ordinals[ordinal] > 1:
            yield _about("duplicated", f"There are {ordinals[ordinal]} chunks number {ordinal}.", row, "drop", name)
        elif chunk_id(row["id"], row["generation"], ordinal) != chunk["id"]:
            yield _about("orphaned", "A chunk's id is not that of its place in the document.", row, "drop", name)
        elif not 0 <= start < end <= len(text):
            yield _about("orphaned", "A chunk lies outside of the document's text.", row, "drop", name)


def _about(kind: Kind, message: str, row: Row, action: Action, ids: tuple[str, ...] = ()) -> Finding:
    return Finding(kind, message, printable(row["uri"]), ids or (printable(row["id"]),), action, row["id"])


def notes_of(inspection: Inspection) -> Iterator[Note]:
    """What is worth knowing and no fault: copies, near duplicates, refused files, unfinished jobs."""
    for uris in inspection.copies():
        named = tuple(printable(uri) for uri in uris[:100])
        yield Note("copies", f"{len(uris)} documents have the same bytes.", named)
    sketches = ((printable(uri), sketch) for uri, sketch in inspection.sketches() if len(sketch) == 4 * HASHES)
    for one, other, share in near_duplicates(sketches):
        yield Note("similar", f"Two documents share about {share:.0%} of their wording.", (one, other))
    for (outcome, reason), count in sorted(inspection.refused().items(), key=repr):
        yield Note("refused", f"{count} files were {printable(outcome)} as {printable(reason)}.")
    for job in inspection.jobs():
        if job["state"] != "done":
            yield Note("unfinished", f"The job {printable(job['id'])} has not come to its end; `quoth sync` goes on.")
