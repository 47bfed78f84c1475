"""One SHA-256 over all that a store holds, so that two stores can be compared, wherever they lie.

Ids differ between stores of different names, so that what they stand for is hashed: a document's URI, a chunk's place.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from ingest.comparison import Comparison
from ingest.findings import printable
from rag.assembly import Engine
from rag.attributes import DATE
from rag.concurrency import in_thread
from rag.ledger.inspection import Inspection, Row
from rag.ledger.stores import Store

_OF_DOCUMENT = ("uri", "title", "media_type", "attributes", "source_sha256", "recipe", "generation")
_OF_CHUNK = ("ordinal", "char_start", "char_end", "prefix", "headings", "locator", "blocks")


async def content_digest(engine: Engine, store: Store) -> str:
    """The digest of a store, in hexadecimal: every visible chunk by URI and ordinal with its point, then other points.

    Times are left out. Holds in memory what disagrees between the ledger and the vector store, and one document.

    Raises:
        StorageError: the ledger or the vector store failed.
    """
    inspection = engine.documents.inspection(store.id)
    pointless: set[bytes] = set()
    misfiled: dict[str, tuple[str, str]] = {}
    extra: list[tuple[str, str]] = []
    async for point, chunk in Comparison(store.id, inspection, engine.vectors).pairs():
        if point is None and chunk is not None:
            pointless.add(uuid.UUID(chunk[0]).bytes)
        elif point is not None and chunk is None:
            extra.append(point[1:])
        elif point is not None and chunk is not None and point != chunk[:3]:
            misfiled[point[0]] = point[1:]
    return await in_thread(_Digest(inspection, pointless, misfiled, extra).value)


class _Digest:
    def __init__(
        self,
        inspection: Inspection,
        pointless: set[bytes],
        misfiled: dict[str, tuple[str, str]],
        extra: list[tuple[str, str]],
    ) -> None:
        self._inspection = inspection
        self._pointless = pointless
        self._misfiled = misfiled
        self._extra = extra
        self._hash = hashlib.sha256()

    def value(self) -> str:
        for document in self._inspection.by_uri():
            self._document(document)
        for owner, generation in sorted((self._stands_for(owner), generation) for owner, generation in self._extra):
            self._add(["extra point", owner, generation])
        return self._hash.hexdigest()

    def _document(self, row: Row) -> None:
        generation = self._inspection.generation(row["id"], row["generation"])
        text = generation["text"] if generation else None
        groups = _loaded("groups", row["groups"])
        self._add([_timeless(_loaded(name, row[name])) for name in _OF_DOCUMENT] + ([groups] if groups else []))
        for chunk in self._inspection.chunks_of(row["id"], row["generation"]):
            fields = [_loaded(name, chunk[name]) for name in _OF_CHUNK]
            self._add([*fields, _slice(text, chunk["char_start"], chunk["char_end"]), self._point(row, chunk["id"])])

    def _point(self, document: Row, chunk: Any) -> list[Any]:
        if chunk in self._misfiled:
            other, generation = self._misfiled[chunk]
            return ["point", self._stands_for(other), generation]
        try:
            has_none = uuid.UUID(chunk).bytes in self._pointless
        except (AttributeError, TypeError, ValueError):
            has_none = True  # such an id cannot be a point's
        return ["no point"] if has_none else ["point", document["uri"], document["generation"]]

    def _stands_for(self, document: str) -> str:
        live = self._inspection.live(document)
        return printable(live[1]) if live else "no document"

    def _add(self, value: list[Any]) -> None:
        self._hash.update(json.dumps(value, sort_keys=True, separators=(",", ":"), default=repr).encode() + b"\n")


def _loaded(name: str, value: Any) -> Any:
    """JSON as what it means, since two ledgers may write it otherwise; what is none stays as it is."""
    if name not in ("attributes", "groups", "headings", "locator", "blocks"):
        return value
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def _timeless(value: Any) -> Any:
    """Attributes without the date that Quoth gave: it is the file's, where its parser tells none."""
    return {key: each for key, each in value.items() if key != DATE} if isinstance(value, dict) else value


def _slice(text: Any, start: Any, end: Any) -> str | None:
    whole = isinstance(text, str) and isinstance(start, int) and isinstance(end, int)
    return text[start:end] if whole else None
