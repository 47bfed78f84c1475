"""Where chunks stand in their documents, without their text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from rag.documents import Chunk
from rag.ledger.tables import chunks, documents

# SQLite nests the conditions of a statement, 1,000 deep at most.
BATCH = 100


@dataclass(frozen=True, slots=True)
class Outline:
    """One chunk of a document's visible generation."""

    chunk_id: str
    document_id: str
    generation: str
    ordinal: int
    headings: tuple[str, ...]


def read_outlines(connection: Connection, around: Sequence[Chunk], reach: int) -> list[Outline]:
    """The chunks that stand at most `reach` places before or behind these, in the order of their documents.

    Those of a document whose visible generation is not that of the chunk are left out.
    """
    found: dict[str, Outline] = {}
    for start in range(0, len(around), BATCH):
        near = or_(*(_near(chunk, reach) for chunk in around[start : start + BATCH]))
        active = and_(documents.c.id == chunks.c.document_id, documents.c.generation == chunks.c.generation)
        query = select(
            chunks.c.id, chunks.c.document_id, chunks.c.generation, chunks.c.ordinal, chunks.c.headings
        ).select_from(chunks.join(documents, active))
        for row in connection.execute(query.where(near)):
            found[row[0]] = Outline(row[0], row[1], row[2], row[3], tuple(row[4]))
    return sorted(found.values(), key=lambda outline: (outline.document_id, outline.ordinal))


def _near(chunk: Chunk, reach: int) -> ColumnElement[bool]:
    return and_(
        chunks.c.document_id == chunk.document_id,
        chunks.c.generation == chunk.generation,
        chunks.c.ordinal.between(chunk.ordinal - reach, chunk.ordinal + reach),
    )
