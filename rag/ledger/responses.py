"""Responses: answers that stay in the ledger, so that they can be read again, and gone on from by a later request.

A response's row is written before its first word, so that a process that is killed leaves one that is not finished and
never one that looks whole. A chain of responses is a conversation: each knows the one before it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, update

from rag.access import Caller
from rag.conversation import Message, Role
from rag.errors import InvalidInputError, LeaseLostError, NotFoundError
from rag.ledger.connection import purge
from rag.ledger.conversations import CLAIM_SECONDS, MOST_EXCHANGES, storable
from rag.ledger.served_tables import responses
from rag.ledger.tables import stores

ResponseStatus = Literal["in_progress", "completed", "incomplete", "failed"]

_ID: Final = re.compile(r"resp_[0-9a-f]{48}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A message of a request."""

    id: str
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it stands in the ledger.

    Attributes:
        body: the object as the API returned it; while it is being written, as it was a few seconds ago.
        asked: the messages of its request, without instructions.
        answered: what was said so far.
        store_ids: the stores that it may quote; it goes with each of them.
        updated_at: when its writer was last heard of.
    """

    id: str
    tenant: str
    key_id: str
    previous_id: str | None
    status: ResponseStatus
    body: Mapping[str, Any]
    asked: tuple[Asked, ...]
    answered: str
    store_ids: tuple[str, ...]
    created_at: float = field(default_factory=time.time)
    updated_at: float = field(default_factory=time.time)

    @property
    def is_abandoned(self) -> bool:
        """Whether its writer was killed: it is not finished, and has not been heard of for longer than a model is."""
        return self.status == "in_progress" and time.time() - self.updated_at > CLAIM_SECONDS

    def columns(self) -> dict[str, Any]:
        """As a row."""
        return {
            "id": self.id, "tenant": self.tenant, "key_id": self.key_id, "previous_id": self.previous_id,
            "status": self.status, "body": dict(self.body), "said": _said(self.asked, self.answered),
            "store_ids": list(self.store_ids), "created_at": self.created_at, "updated_at": self.updated_at,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class EarlierResponses:
    """What was said in a chain of responses, oldest first; `is_cut` where it began earlier than is read."""

    messages: tuple[Message, ...] = ()
    is_cut: bool = False


class Responses:
    """The responses of one ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, response: StoredResponse) -> None:
        """Keep a response that is about to be written.

        Raises:
            LeaseLostError: a store that it quotes was deleted meanwhile.
        """
        with self._engine.begin() as connection:
            # Written first and looked at afterwards: a deletion of the store waits, or has been seen.
            connection.execute(insert(responses).values(**response.columns()))
            there = select(func.count()).where(stores.c.id.in_(response.store_ids))
            if connection.execute(there).scalar_one() != len(set(response.store_ids)):
                raise LeaseLostError("A store was deleted while it was being asked. Ask again without it.")

    def save(self, response: StoredResponse, body: Mapping[str, Any], answered: str) -> None:
        """Keep what was said so far, and that its writer is alive."""
        self._write(response, "in_progress", body, answered)

    def finish(self, response: StoredResponse, status: ResponseStatus, body: Mapping[str, Any], answered: str) -> None:
        """Keep how a response ended. Nothing is kept where it was deleted meanwhile."""
        self._write(response, status, body, answered)

    def _write(self, response: StoredResponse, status: ResponseStatus, body: Mapping[str, Any], answered: str) -> None:
        said = _said(response.asked, answered)
        changed = {"status": status, "body": dict(body), "said": said, "updated_at": time.time()}
        unfinished = (responses.c.id == response.id, responses.c.status == "in_progress")
        with self._engine.begin() as connection:
            connection.execute(update(responses).where(*unfinished).values(**changed))

    def get(self, response_id: str, caller: Caller) -> StoredResponse:
        """The response of this id. Raises NotFoundError, also for another's."""
        with self._engine.connect() as connection:
            return _get(connection, response_id, caller)

    def history(self, response_id: str, caller: Caller) -> EarlierResponses:
        """What was said up to this response and in it: the latest exchanges in which something was answered.

        Raises:
            NotFoundError: there is no such response, or it is another's.
            InvalidInputError: it is being written.
        """
        found: list[Message] = []
        with self._engine.connect() as connection:
            response: StoredResponse | None = _get(connection, response_id, caller)
            if response and response.status == "in_progress" and not response.is_abandoned:
                raise InvalidInputError(f"The response {response_id} is being written. Wait for its end, then go on.")
            for _ in range(MOST_EXCHANGES):
                if response is None:
                    break
                found[:0] = _exchange(response)
                response = _find(connection, response.previous_id, caller)
        return EarlierResponses(tuple(found), is_cut=response is not None)

    def delete(self, response_id: str, caller: Caller) -> None:
        """Delete a response, also from the ledger's files; what went on from it stays. Raises NotFoundError."""
        with self._engine.begin() as connection:
            _get(connection, response_id, caller)
            connection.execute(delete(responses).where(responses.c.id == response_id))
        purge(self._engine)


def _get(connection: Connection, response_id: str, caller: Caller) -> StoredResponse:
    found = _find(connection, response_id, caller)
    if found is None:
        raise NotFoundError(
            f"There is no response {response_id[:64]!r}; it may have been deleted, or was made with store=false."
        )
    return found


def _find(connection: Connection, response_id: str | None, caller: Caller) -> StoredResponse | None:
    if response_id is None or not _ID.fullmatch(response_id):
        return None
    row = connection.execute(select(responses).where(responses.c.id == response_id)).mappings().first()
    return _stored(row) if row and caller.owns(row["tenant"], row["key_id"]) else None


def _stored(row: RowMapping) -> StoredResponse:
    fields = {name: row[name] for name in row if name not in ("said", "store_ids")}
    asked = tuple(Asked(**message) for message in row["said"]["asked"])
    return StoredResponse(
        **fields, asked=asked, answered=row["said"]["answered"], store_ids=tuple(row["store_ids"])
    )  # fmt: skip


def _said(asked: Sequence[Asked], answered: str) -> dict[str, Any]:
    messages = [{"id": each.id, "role": each.role, "content": storable(each.content)} for each in asked]
    return {"asked": messages, "answered": storable(answered)}


def _exchange(response: StoredResponse) -> list[Message]:
    """What was asked and answered; nothing where there is no answer to go on from."""
    if not response.answered:
        return []
    return [*(Message(each.role, each.content) for each in response.asked), Message("assistant", response.answered)]
