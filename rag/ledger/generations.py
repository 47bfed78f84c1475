"""Taking documents out of sight, as part of a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, delete, select, update

from rag.ledger.tables import chunks, documents, generations

BATCH = 500

GenerationKey = tuple[str, str]


def retire(connection: Connection, store_id: str, document_ids: Sequence[str]) -> list[GenerationKey]:
    """Take documents out of sight, their text at once; returns their generations, whose points are to be deleted."""
    keys: list[GenerationKey] = []
    for start in range(0, len(document_ids), BATCH):
        some = document_ids[start : start + BATCH]
        owned = and_(generations.c.store_id == store_id, generations.c.document_id.in_(some))
        found = connection.execute(select(generations.c.document_id, generations.c.generation).where(owned))
        keys += [(row[0], row[1]) for row in found]
        connection.execute(update(generations).where(owned).values(state="retired", text=None))
        for table, column in ((chunks, chunks.c.document_id), (documents, documents.c.id)):
            connection.execute(delete(table).where(table.c.store_id == store_id, column.in_(some)))
    return keys
