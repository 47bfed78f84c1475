"""Leases: who may write where, and a number that tells a late writer that it has been replaced.

Every holder gets a higher fencing number. A transaction that writes under a lease names its number first, and fails
when the lease has another one by then: a process that was suspended for an hour cannot undo what its successor did.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, insert, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from rag.errors import LeaseLostError
from rag.ledger.tables import leases

logger = logging.getLogger(__name__)

LEASE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write under a name, until somebody else has it."""

    name: str
    fence: int

    def require(self, connection: Connection) -> None:
        """Renew the lease as the first statement of a transaction, which nobody can overtake from then on.

        Raises:
            LeaseLostError: somebody else has it.
        """
        mine = (leases.c.name == self.name, leases.c.fence == self.fence)
        renewed = connection.execute(update(leases).where(*mine).values(expires_at=time.time() + LEASE_SECONDS))
        if renewed.rowcount != 1:
            raise LeaseLostError(
                "Another process has taken this work over, or the store was deleted meanwhile. What was finished is "
                "kept; run the command again if it is still wanted."
            )


class Leases:
    """The leases of one ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def acquire(self, name: str, holder: str, place: str, *, take_over: bool = False) -> Lease | None:
        """Take a lease that is free.

        Args:
            name: what is written to.
            holder: who asks, for people to read.
            place: names the data directory whose file lock the caller holds: a holder from there is no longer alive.
            take_over: take it in any case; its holder finds out at its next transaction.

        Returns:
            None while another place has it.
        """
        now = time.time()
        free = true() if take_over else or_(leases.c.expires_at < now, leases.c.place == place)
        row = {"holder": holder, "place": place, "expires_at": now + LEASE_SECONDS}
        self._make_row(name)
        with self._engine.begin() as connection:
            taken = connection.execute(
                update(leases).where(leases.c.name == name, free).values(**row, fence=leases.c.fence + 1)
            )
            if taken.rowcount != 1:
                return None
            return Lease(name, connection.execute(select(leases.c.fence).where(leases.c.name == name)).scalar_one())

    def renew(self, lease: Lease) -> None:
        """Keep a lease. Raises LeaseLostError."""
        with self._engine.begin() as connection:
            lease.require(connection)

    def release(self, lease: Lease) -> None:
        """Give a lease back, unless somebody else has it already."""
        mine = (leases.c.name == lease.name, leases.c.fence == lease.fence)
        with self._engine.begin() as connection:
            connection.execute(update(leases).where(*mine).values(expires_at=0.0))

    def _make_row(self, name: str) -> None:
        with self._engine.connect() as connection:
            if connection.execute(select(leases.c.fence).where(leases.c.name == name)).first() is not None:
                return
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(leases).values(name=name, holder="", place="", fence=0, expires_at=0.0))
        except IntegrityError:
            logger.debug("another process made the lease's row at the same moment", extra={"lease": name})
