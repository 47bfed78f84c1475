"""Conversations: questions and answers in the order in which they were asked.

An answer's row is written before its first word, so that a process that is killed leaves `incomplete` and never a
question without an answer. One answer at a time is written in a conversation; a second request is told so.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from rag.access import Caller
from rag.conversation import Conversation, KeptMessage, Message, Status
from rag.errors import ConversationBusyError, InvalidInputError, NotFoundError
from rag.ledger.connection import purge
from rag.ledger.tables import conversations, feedback, messages, stores
from rag.tokens import replace_surrogates

TITLE_CHARACTERS: Final = 80
# The latest exchanges that are read for an answer; what a prompt has room for is less.
MOST_EXCHANGES: Final = 100
# Longer than the silence after which a model is given up by default: who is killed blocks a conversation this long.
CLAIM_SECONDS: Final = 180.0
# The id of no key: who owns what it has made owns all of its tenant.
ANOTHER: Final = "*"


@dataclass(frozen=True, slots=True)
class Begun:
    """An answer that is about to be written, and what was said before: `earlier` counts all of it."""

    conversation_id: str
    answer_id: str
    history: tuple[Message, ...]
    earlier: int


@dataclass(frozen=True, slots=True)
class Ending:
    """What is kept of an answer; the fields are those of KeptMessage."""

    status: Status
    content: str = ""
    stand_alone: str = ""
    model: str = ""
    sources: Sequence[Mapping[str, Any]] = ()
    citations: Sequence[Mapping[str, Any]] = ()
    usage: Mapping[str, int] = field(default_factory=dict)
    finish_reason: str | None = None
    error_code: str | None = None
    sentences: Sequence[Mapping[str, Any]] = ()
    answerable: Mapping[str, float] | None = None

    def values(self) -> dict[str, Any]:
        """As columns."""
        return {
            "status": self.status, "content": storable(self.content), "stand_alone": storable(self.stand_alone),
            "model": self.model, "sources": list(self.sources), "citations": list(self.citations),
            "usage": dict(self.usage), "finish_reason": self.finish_reason, "error_code": self.error_code,
            "sentences": list(self.sentences), "answerable": self.answerable,
        }  # fmt: skip


class Conversations:
    """The conversations of one ledger.

    What is asked for with a caller is there where it owns it, see `Caller.owns`; without one, as for people at the
    machine, whoever's it is.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, store_id: str, first_question: str, caller: Caller | None = None) -> Conversation:
        """Make an empty conversation, called after its first question; without a caller it is the operator's."""
        owner = caller or Caller()
        now, title = time.time(), " ".join(storable(first_question).split())
        identity = str(uuid.uuid4())
        values = {"id": identity, "store_id": store_id, "title": _shortened(title), "created_at": now}
        with self._engine.begin() as connection:
            values |= {"tenant": owner.tenant, "key_id": owner.key_id, "updated_at": now, "answering_until": 0.0}
            connection.execute(insert(conversations).values(**values))
        return self.get(identity)

    def get(self, conversation_id: str, caller: Caller | None = None) -> Conversation:
        """The conversation of this id. Raises NotFoundError."""
        with self._engine.connect() as connection:
            return _get(connection, conversation_id, caller)

    def find(self, beginning: str) -> Conversation:
        """The one conversation whose id begins like this. Raises NotFoundError."""
        query = _select().where(conversations.c.id.startswith(beginning, autoescape=True)).limit(2)
        with self._engine.connect() as connection:
            found = connection.execute(query).mappings().all()
        if len(found) != 1:
            raise NotFoundError(f"No conversation, or more than one, has an id like {beginning!r}.")
        return Conversation(**found[0])

    def latest(self, store_id: str) -> Conversation | None:
        """The conversation of a store that was gone on with last."""
        query = _select().where(conversations.c.store_id == store_id).order_by(*_latest_first()).limit(1)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return Conversation(**row) if row else None

    def page(
        self, limit: int, after: str | None = None, caller: Caller | None = None
    ) -> tuple[list[Conversation], bool]:
        """A page of conversations, those first that were gone on with last, and whether there are more.

        Args:
            after: the id of the last one of the page before. Raises NotFoundError when it is gone.
        """
        query = _select().where(*owned_by(caller)).order_by(*_latest_first()).limit(limit + 1)
        with self._engine.connect() as connection:
            if after is not None:
                last, moment = _get(connection, after, caller), conversations.c.updated_at
                same = and_(moment == last.updated_at, conversations.c.id > last.id)
                query = query.where(or_(moment < last.updated_at, same))
            rows = connection.execute(query).mappings().all()
        return [Conversation(**row) for row in rows[:limit]], len(rows) > limit

    def messages(
        self, conversation_id: str, after: int, limit: int, caller: Caller | None = None
    ) -> tuple[list[KeptMessage], bool]:
        """A page of messages, oldest first, behind the ordinal `after`, and whether there are more."""
        own = (messages.c.conversation_id == conversation_id, messages.c.ordinal > after)
        query = select(messages).where(*own).order_by(messages.c.ordinal).limit(limit + 1)
        with self._engine.connect() as connection:
            _get(connection, conversation_id, caller)
            rows = connection.execute(query).mappings().all()
        return [_message(row) for row in rows[:limit]], len(rows) > limit

    def begin(self, conversation_id: str, question: str, *, take_over: bool = False) -> Begun:
        """Append a question and the answer that is about to be written, and read what was said before.

        Args:
            take_over: also when another answer is being written, by a process that was killed for example.

        Raises:
            InvalidInputError: the question is blank.
            NotFoundError: there is no such conversation.
            ConversationBusyError: another answer is being written in it.
        """
        if not question.strip():
            raise InvalidInputError("The question is empty: ask something.")
        now, answer_id = time.time(), str(uuid.uuid4())
        claimed = {"answering": answer_id, "answering_until": now + CLAIM_SECONDS, "updated_at": now}
        free = or_(conversations.c.answering.is_(None), conversations.c.answering_until < now)
        mine = conversations.c.id == conversation_id
        with self._engine.begin() as connection:
            # The first statement writes, so that a second one of these transactions waits for the end of this one.
            claim = update(conversations).where(mine if take_over else and_(mine, free)).values(**claimed)
            if connection.execute(claim).rowcount != 1:
                _get(connection, conversation_id, None)
                raise ConversationBusyError(
                    "An answer is being written in this conversation. Wait for its end, then ask again."
                )
            own = messages.c.conversation_id == conversation_id
            latest = connection.execute(select(func.max(messages.c.ordinal)).where(own)).scalar()
            ordinal = 0 if latest is None else int(latest) + 1
            history, earlier = _history(connection, conversation_id)
            asked = _row(conversation_id, ordinal, str(uuid.uuid4()), "user", "complete", now)
            answer = _row(conversation_id, ordinal + 1, answer_id, "assistant", "incomplete", now)
            connection.execute(insert(messages), [{**asked, "content": storable(question)}, answer])
        return Begun(conversation_id, answer_id, tuple(history), earlier)

    def save(self, begun: Begun, content: str) -> None:
        """Keep what an answer has said so far, and the right to write it."""
        with self._engine.begin() as connection:
            mine = (conversations.c.id == begun.conversation_id, conversations.c.answering == begun.answer_id)
            connection.execute(update(conversations).where(*mine).values(answering_until=time.time() + CLAIM_SECONDS))
            connection.execute(
                update(messages).where(messages.c.id == begun.answer_id).values(content=storable(content))
            )

    def finish(self, begun: Begun, ending: Ending) -> None:
        """Keep how an answer ended. Nothing is kept where the conversation was deleted meanwhile."""
        with self._engine.begin() as connection:
            mine = (conversations.c.id == begun.conversation_id, conversations.c.answering == begun.answer_id)
            freed = {"answering": None, "answering_until": 0.0, "updated_at": time.time()}
            connection.execute(update(conversations).where(*mine).values(**freed))
            connection.execute(update(messages).where(messages.c.id == begun.answer_id).values(**ending.values()))

    def delete(self, conversation_id: str, caller: Caller | None = None) -> None:
        """Delete a conversation with its messages and their feedback, also from the ledger's files.

        Raises:
            NotFoundError: there is no such conversation.
        """
        with self._engine.begin() as connection:
            if caller is not None:
                _get(connection, conversation_id, caller)
            connection.execute(delete(feedback).where(feedback.c.conversation_id == conversation_id))
            connection.execute(delete(messages).where(messages.c.conversation_id == conversation_id))
            gone = connection.execute(delete(conversations).where(conversations.c.id == conversation_id))
        if gone.rowcount != 1:
            raise _missing(conversation_id)
        purge(self._engine)


def storable(text: str) -> str:
    """The text without what a database cannot hold: halves of surrogate pairs, and NUL, which PostgreSQL refuses."""
    return replace_surrogates(text).replace("\0", "\ufffd")


def owned_by(caller: Caller | None) -> list[ColumnElement[bool]]:
    """What holds of every conversation that a caller owns, as `Caller.owns` has it."""
    if caller is None:
        return []
    of_tenant = conversations.c.tenant == caller.tenant
    if caller.owns(caller.tenant, ANOTHER):
        return [of_tenant]
    return [of_tenant, conversations.c.key_id == caller.key_id]


def kept_message(
    connection: Connection, answer_id: str, caller: Caller | None = None
) -> tuple[KeptMessage, str, str] | None:
    """An answer, its question and the id of its store, as part of a transaction; None when there is none."""
    asked = messages.alias()
    before = and_(asked.c.conversation_id == messages.c.conversation_id, asked.c.ordinal == messages.c.ordinal - 1)
    query = (
        select(messages, asked.c.content.label("question"), conversations.c.store_id)
        .join(asked, before)
        .join(conversations, conversations.c.id == messages.c.conversation_id)
        .where(messages.c.id == answer_id, messages.c.role == "assistant", *owned_by(caller))
    )
    row = connection.execute(query).mappings().first()
    return (_message(row), row["question"], row["store_id"]) if row else None


def _select() -> Select[Any]:
    named = (
        conversations.c[name] for name in ("id", "store_id", "title", "created_at", "updated_at", "tenant", "key_id")
    )
    return select(*named, stores.c.name.label("store")).join(stores, stores.c.id == conversations.c.store_id)


def _latest_first() -> tuple[Any, Any]:
    return conversations.c.updated_at.desc(), conversations.c.id


def _get(connection: Connection, conversation_id: str, caller: Caller | None) -> Conversation:
    query = _select().where(conversations.c.id == conversation_id, *owned_by(caller))
    row = connection.execute(query).mappings().first()
    if row is None:
        raise _missing(conversation_id)
    return Conversation(**row)


def _missing(conversation_id: str) -> NotFoundError:
    return NotFoundError(
        f"There is no conversation {conversation_id[:64]!r}; it may have been deleted. Begin a new one."
    )


def _history(connection: Connection, conversation_id: str) -> tuple[list[Message], int]:
    """The latest exchanges in which something was answered, and how many messages all of them have."""
    answer = messages.alias()
    behind = and_(answer.c.conversation_id == messages.c.conversation_id, answer.c.ordinal == messages.c.ordinal + 1)
    own = (messages.c.conversation_id == conversation_id, messages.c.role == "user", answer.c.content != "")
    exchanges = select(messages.c.content, answer.c.content).join(answer, behind).where(*own)
    rows = connection.execute(exchanges.order_by(messages.c.ordinal.desc()).limit(MOST_EXCHANGES)).all()
    count = select(func.count()).select_from(messages).join(answer, behind).where(*own)
    found: list[Message] = []
    for question, said in reversed(rows):
        found += [Message("user", question), Message("assistant", said)]
    return found, 2 * int(connection.execute(count).scalar_one())


def _row(conversation_id: str, ordinal: int, identity: str, role: str, status: Status, now: float) -> dict[str, Any]:
    owner = {"conversation_id": conversation_id, "ordinal": ordinal, "id": identity, "role": role, "created_at": now}
    return {**owner, **Ending(status).values()}


def _message(row: RowMapping) -> KeptMessage:
    fields = {name: row[name] for name in KeptMessage.__slots__}
    return KeptMessage(
        **{
            **fields,
            "sources": tuple(row["sources"]),
            "citations": tuple(row["citations"]),
            "sentences": tuple(row["sentences"]),
        }
    )


def _shortened(title: str) -> str:
    return title if len(title) <= TITLE_CHARACTERS else f"{title[: TITLE_CHARACTERS - 2]} …"
