"""Documents as a caller may read them: lists, text, and where a span of it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, Text, and_, cast, func, or_, select

from rag.access import Caller
from rag.documents import Candidate, Locator, Scores
from rag.errors import InvalidInputError, NotFoundError
from rag.ledger.documents import DocumentRecord, Documents
from rag.ledger.stores import Store, Stores
from rag.ledger.tables import chunks, documents, generations

MAX_TEXT_CHARACTERS: Final = 100_000  # that one call reads
SCANNED: Final = 500  # rows that are looked at for one page, at a time

_DOCUMENT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Beyond so many groups the query would be longer than the rows it saves.
_MOST_GROUPS_ASKED = 50


@dataclass(frozen=True, slots=True)
class Held:
    """A document, and the store that holds it."""

    record: DocumentRecord
    store: Store


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document's canonical text: `text == whole[char_start:char_end]`, of `char_count` characters."""

    text: str
    char_start: int
    char_end: int
    char_count: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where people look a span up."""

    headings: tuple[str, ...]
    locator: Locator


class Library:
    """The documents of one ledger, each shown to those alone who may see its store and belong to its groups."""

    def __init__(self, engine: Engine, stores: Stores, records: Documents) -> None:
        self._engine = engine
        self._stores = stores
        self._records = records

    def get(self, document_id: str, caller: Caller) -> Held:
        """The document of this id.

        Raises:
            NotFoundError: there is none, or none for this caller; the two look alike.
        """
        seen = {store.id: store for store in self._stores.visible(caller)}
        record = self._find(document_id)
        if record is None or record.store_id not in seen or not may_read(record.groups, caller.groups):
            raise NotFoundError(f"There is no document {document_id!r}. GET /v1/documents lists those that there are.")
        return Held(record, seen[record.store_id])

    def page(
        self,
        store: Store,
        caller: Caller,
        *,
        limit: int,
        after: str | None = None,
        title: str = "",
        uri: str = "",
    ) -> tuple[list[DocumentRecord], bool]:
        """The store's documents that the caller may read, in the order of their URIs, and whether there are more.

        Args:
            after: id of the last document of the page before.
            title: what titles begin with, letter by letter.
            uri: what URIs begin with, likewise.

        Raises:
            InvalidInputError: `after` names no document of the store.
        """
        key = documents.c.uri if self._engine.dialect.name == "sqlite" else documents.c.uri.collate("C")
        query = select(documents).where(documents.c.store_id == store.id, _maybe_readable(caller.groups))
        for column, beginning in ((documents.c.title, title), (documents.c.uri, uri)):
            if beginning:
                query = query.where(func.substr(column, 1, len(beginning)) == beginning)
        last = self._uri_of(store, after, caller) if after else None
        found: list[DocumentRecord] = []
        while True:
            some = query if last is None else query.where(key > last)
            with self._engine.connect() as connection:
                rows = connection.execute(some.order_by(key).limit(SCANNED)).mappings().all()
            found += [_record(row) for row in rows if may_read(row["groups"], caller.groups)]
            if len(found) > limit or len(rows) < SCANNED:
                return found[:limit], len(found) > limit
            last = rows[-1]["uri"]

    def text(self, record: DocumentRecord, start: int, end: int) -> Passage:
        """The characters `start:end` of a document's canonical text, as far as it goes, MAX_TEXT_CHARACTERS at most.

        Raises:
            NotFoundError: the document has changed or gone in this moment.
        """
        wanted = max(0, min(end, start + MAX_TEXT_CHARACTERS) - start)
        part = func.substr(generations.c.text, start + 1, wanted)
        query = select(part, func.length(generations.c.text)).where(
            generations.c.document_id == record.id, generations.c.generation == record.generation
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None or row[1] is None:
            raise NotFoundError(f"The document {record.id!r} has changed or gone meanwhile. Ask for it again.")
        begin = min(start, row[1])
        return Passage(row[0], begin, begin + len(row[0]), row[1])

    def place_of(self, record: DocumentRecord, start: int, end: int) -> Place | None:
        """Where the span `start:end` stands; None where none of it was indexed."""
        overlapping = and_(
            chunks.c.document_id == record.id, chunks.c.generation == record.generation,
            chunks.c.char_start < end, chunks.c.char_end > start,
        )  # fmt: skip
        query = select(chunks.c.id).where(overlapping)
        with self._engine.connect() as connection:
            ends = [
                connection.scalars(query.order_by(order).limit(1)).first()
                for order in (chunks.c.ordinal, chunks.c.ordinal.desc())
            ]
        ids = [id_ for id_ in dict.fromkeys(ends) if id_]
        wanted = [Candidate(id_, record.id, record.generation, Scores()) for id_ in ids]
        hits = [hit.chunk for hit in self._records.join([record.store_id], wanted)]
        if not hits:
            return None
        places = [
            chunk.place_of(max(start, chunk.char_start) - chunk.char_start, min(end, chunk.char_end) - chunk.char_start)
            for chunk in hits
        ]
        return Place(places[0][0], places[0][1].to(places[-1][1]))

    def groups_of(self, document_ids: Iterable[str]) -> dict[str, Sequence[str]]:
        """The groups that may read each of these documents."""
        wanted = sorted(document_ids)
        found: dict[str, Sequence[str]] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(wanted), SCANNED):
                some = documents.c.id.in_(wanted[start : start + SCANNED])
                rows = connection.execute(select(documents.c.id, documents.c.groups).where(some))
                found.update({row[0]: tuple(row[1]) for row in rows})
        return found

    def _find(self, document_id: str) -> DocumentRecord | None:
        if not _DOCUMENT_ID.fullmatch(document_id):
            return None
        with self._engine.connect() as connection:
            row = connection.execute(select(documents).where(documents.c.id == document_id)).mappings().first()
        return _record(row) if row else None

    def _uri_of(self, store: Store, document_id: str, caller: Caller) -> str:
        record = self._find(document_id)
        if record is None or record.store_id != store.id or not may_read(record.groups, caller.groups):
            raise InvalidInputError(f"`after` names no document of this store: {document_id!r}. Begin without it.")
        return record.uri


def may_read(document_groups: Sequence[str], groups: frozenset[str] | None) -> bool:
    """Whether a caller of these groups may read a document that names those; None may read everything."""
    return groups is None or not document_groups or not groups.isdisjoint(document_groups)


def _maybe_readable(groups: frozenset[str] | None) -> Any:
    """A condition that all rows fulfil that `may_read` lets through, and few others, so that few others are read."""
    if groups is None or len(groups) > _MOST_GROUPS_ASKED:
        return documents.c.id.is_not(None)
    text = cast(documents.c.groups, Text)
    return or_(text == "[]", *(text.contains(json.dumps(group), autoescape=True) for group in sorted(groups)))


def _record(row: Mapping[Any, Any]) -> DocumentRecord:
    return DocumentRecord(**{**row, "groups": tuple(row["groups"])})
