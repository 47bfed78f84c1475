"""Requests with an Idempotency-Key: what the first was answered, for those that repeat it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from rag.errors import IdempotencyBusyError, IdempotencyMismatchError, LeaseLostError
from rag.ledger.connection import purge
from rag.ledger.served_tables import idempotent_requests as requests

KEPT_SECONDS: Final = 24 * 3600.0
# Whoever works on a request says so more often than this; after it, what a killed process left is anybody's.
STALE_SECONDS: Final = 30.0

RUNNING, DONE = "running", "done"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry out a request; `token` tells it from an earlier one that went stale."""

    owner: str
    key: str
    token: str


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """What a request was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class IdempotentRequests:
    """The repeatable requests of one ledger. `owner` is whose keys they are: the keys of two owners never meet."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, owner: str, key: str, request_sha256: str, now: float | None = None) -> Claim | KeptResponse:
        """Claim a request, or get what it was answered before.

        Args:
            request_sha256: of all that must be the same when it is repeated.

        Raises:
            IdempotencyMismatchError: the key came with another request.
            IdempotencyBusyError: the request is being carried out.
        """
        now = time.time() if now is None else now
        claim = Claim(owner, key, secrets.token_hex(16))
        values = {"request_sha256": request_sha256, "state": RUNNING, "claim": claim.token, "created_at": now}
        try:
            with self._engine.begin() as connection:
                _drop_outdated(connection, owner, key, now)
                connection.execute(insert(requests).values(owner=owner, idempotency_key=key, headers={}, **values))
        except IntegrityError:
            return self._earlier(owner, key, request_sha256)
        return claim

    def _earlier(self, owner: str, key: str, request_sha256: str) -> KeptResponse:
        query = select(requests).where(requests.c.owner == owner, requests.c.idempotency_key == key)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is not None and row["request_sha256"] != request_sha256:
            raise IdempotencyMismatchError(
                "This Idempotency-Key came with another path or body before. Repeat that request unchanged, or draw a "
                "new key for this one."
            )
        if row is None or row["state"] == RUNNING:
            raise IdempotencyBusyError(
                "The first request with this Idempotency-Key is still at work. Repeat it in a moment."
            )
        return KeptResponse(row["status"], row["headers"], row["body"])

    def renew(self, claim: Claim, now: float | None = None) -> None:
        """Say that a request is still being worked on."""
        moment = time.time() if now is None else now
        with self._engine.begin() as connection:
            connection.execute(update(requests).where(*_running(claim)).values(created_at=moment))

    def finish(self, claim: Claim, response: KeptResponse) -> None:
        """Keep what a request was answered. Raises LeaseLostError where the claim went stale and another took it."""
        with self._engine.begin() as connection:
            finish_in(connection, claim, response)

    def drop(self, claim: Claim) -> None:
        """Forget a request that was not finished, so that it can be tried again; one that was finished stays."""
        with self._engine.begin() as connection:
            connection.execute(delete(requests).where(*_running(claim)))

    def sweep(self, now: float) -> int:
        """Forget what is older than a day, also out of the ledger's files; returns how many requests it was."""
        with self._engine.begin() as connection:
            gone = connection.execute(delete(requests).where(requests.c.created_at < now - KEPT_SECONDS)).rowcount
        if gone:
            purge(self._engine)
        return gone


def finish_in(connection: Connection, claim: Claim, response: KeptResponse) -> None:
    """As `IdempotentRequests.finish`, in the transaction that has the effect: both are there, or neither is."""
    values = {
        "state": DONE, "status": response.status, "headers": dict(response.headers), "body": response.body,
        "created_at": time.time(),
    }  # fmt: skip
    if connection.execute(update(requests).where(*_running(claim)).values(**values)).rowcount != 1:
        raise LeaseLostError(
            "This request paused for so long that a repetition of it was begun. Send it again to see what came of that."
        )


def _drop_outdated(connection: Connection, owner: str, key: str, now: float) -> None:
    own = (requests.c.owner == owner, requests.c.idempotency_key == key)
    stale = (requests.c.state == RUNNING, requests.c.created_at < now - STALE_SECONDS)
    old = (requests.c.state == DONE, requests.c.created_at < now - KEPT_SECONDS)
    for outdated in (stale, old):
        connection.execute(delete(requests).where(*own, *outdated))


def _running(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        requests.c.owner == claim.owner, requests.c.idempotency_key == claim.key, requests.c.claim == claim.token,
        requests.c.state == RUNNING,
    )  # fmt: skip
