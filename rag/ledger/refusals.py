"""Files that are not in the index, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, delete, insert, select

from rag.ledger.leases import Lease
from rag.ledger.tables import refusals
from rag.ledger.uris import below

BATCH = 500


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that is not in the index, why, and what it was like when it was last tried.

    Attributes:
        outcome: `skipped` or `failed`.
        reason: a stable word.
        message: for people.
        recipe: what it would have been read with; empty where nothing was tried.
        attempts: runs that tried in vain since it last changed.
    """

    uri: str
    outcome: str
    reason: str
    message: str
    size_bytes: int = 0
    mtime_ns: int = 0
    recipe: str = ""
    attempts: int = 0


_COLUMNS = tuple(refusals.c[name] for name in Refusal.__slots__)


class Refusals:
    """The refused files of one ledger. Every method works inside the store whose id it is given."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self, store_id: str) -> list[Refusal]:
        """Every refused file, by URI."""
        query = select(*_COLUMNS).where(refusals.c.store_id == store_id).order_by(refusals.c.uri)
        with self._engine.connect() as connection:
            return [Refusal(**row) for row in connection.execute(query).mappings()]

    def at(self, store_id: str, uris: Sequence[str]) -> dict[str, Refusal]:
        """The refusals of these URIs, by URI."""
        found: dict[str, Refusal] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(uris), BATCH):
                some = refusals.c.uri.in_(uris[start : start + BATCH])
                query = select(*_COLUMNS).where(refusals.c.store_id == store_id, some)
                found.update({row["uri"]: Refusal(**row) for row in connection.execute(query).mappings()})
        return found

    def replace(self, store_id: str, found: Sequence[Refusal], lease: Lease | None = None) -> None:
        """Record why these files are not in the index, in place of what was recorded of them before."""
        latest = list({refusal.uri: refusal for refusal in found}.values())
        with self._engine.begin() as connection:
            if lease:
                lease.require(connection)
            drop(connection, store_id, [refusal.uri for refusal in latest])
            if latest:
                connection.execute(insert(refusals), [asdict(refusal) | {"store_id": store_id} for refusal in latest])

    def forget(self, store_id: str, roots: Sequence[str]) -> int:
        """Forget what was recorded of files at and below these URIs; returns how many there were."""
        lost = delete(refusals).where(refusals.c.store_id == store_id, below(refusals.c.uri, roots))
        with self._engine.begin() as connection:
            return int(connection.execute(lost).rowcount)


def drop(connection: Connection, store_id: str, uris: Sequence[str]) -> None:
    """Forget what was recorded of these files, as part of a transaction."""
    for start in range(0, len(uris), BATCH):
        some = refusals.c.uri.in_(uris[start : start + BATCH])
        connection.execute(delete(refusals).where(refusals.c.store_id == store_id, some))
