"""What people think of answers, with the trace of each, and the test cases that come of it."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import Engine, and_, delete, insert, or_, select

from rag.access import Caller
from rag.conversation import KeptMessage
from rag.errors import NotFoundError
from rag.ledger.conversations import kept_message, owned_by, storable
from rag.ledger.tables import conversations, feedback

Rating = Literal["up", "down"]

BATCH = 200


@dataclass(frozen=True, slots=True)
class Feedback:
    """A thumb, up or down, and a comment on one answer.

    Attributes:
        trace: what led to the answer: `question`, `stand_alone`, `sources`, `model`, `answer`, `status`, `citations`.
    """

    id: str
    answer_id: str
    conversation_id: str
    store_id: str
    rating: Rating
    comment: str
    created_at: float
    trace: Mapping[str, Any]


class FeedbackLog:
    """The feedback of one ledger: one for each answer, the latest."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def give(self, answer_id: str, rating: Rating, comment: str = "", caller: Caller | None = None) -> Feedback:
        """Rate an answer, in place of how it was rated before; one of a conversation that the caller owns, if any.

        Raises:
            NotFoundError: there is no such answer in a conversation of the ledger.
        """
        with self._engine.begin() as connection:
            found = kept_message(connection, answer_id, caller)
            if found is None:
                raise NotFoundError(
                    f"There is no answer {answer_id[:64]!r} in the ledger. Answers are kept in conversations only: ask "
                    "with `conversation`, and send the `answer_id` of the response."
                )
            connection.execute(delete(feedback).where(feedback.c.answer_id == answer_id))
            message, question, store_id = found
            given = Feedback(
                id=str(uuid.uuid4()), answer_id=answer_id, conversation_id=message.conversation_id, store_id=store_id,
                rating=rating, comment=storable(comment), created_at=time.time(), trace=_trace(message, question),
            )  # fmt: skip
            connection.execute(insert(feedback).values(**asdict(given)))
        return given

    def all(self, store_id: str | None = None, caller: Caller | None = None) -> Iterator[Feedback]:
        """Every feedback, on what the caller owns if there is one, oldest first, read a page at a time."""
        moment, last = feedback.c.created_at, None
        query = select(feedback).order_by(moment, feedback.c.id).limit(BATCH)
        if store_id is not None:
            query = query.where(feedback.c.store_id == store_id)
        if caller is not None:
            owned = select(conversations.c.id).where(*owned_by(caller))
            query = query.where(feedback.c.conversation_id.in_(owned))
        while True:
            page = query
            if last is not None:
                same = and_(moment == last.created_at, feedback.c.id > last.id)
                page = query.where(or_(moment > last.created_at, same))
            with self._engine.connect() as connection:
                rows = connection.execute(page).mappings().all()
            found = [Feedback(**row) for row in rows]
            yield from found
            if len(rows) < BATCH:
                return
            last = found[-1]


def as_case(given: Feedback) -> dict[str, Any]:
    """The test case that an answer comes to, as a line of the file that `quoth eval answers --cases` reads.

    An answer that was liked becomes a question with the passages that it cited; liked without citations, a question
    that cannot be answered. One that was not liked has no known answer yet: it is marked `drop` and `to_review`, so
    that nothing is judged by it until somebody has written what is right.
    """
    trace, cited = given.trace, given.trace["citations"]
    is_gold = given.rating == "up" and trace["status"] == "complete"
    case: dict[str, Any] = {
        "id": f"feedback-{hashlib.sha256(given.answer_id.encode()).hexdigest()[:16]}",
        "question": trace["stand_alone"] or trace["question"], "answers": [], "files": [], "passages": [],
        "answerable": bool(cited) or not is_gold, "review": "" if is_gold else "drop",
    }  # fmt: skip
    if is_gold and cited:
        first = cited[0]
        case["files"] = list(dict.fromkeys(citation["uri"] for citation in cited))
        case["passages"] = list(dict.fromkeys(citation["quote"] for citation in cited))
        case["source"] = {
            "uri": first["uri"], "generation": first["generation"], "start": first["char_start"],
            "end": first["char_end"],
        }  # fmt: skip
    notes = {"rating": given.rating, "asked": trace["question"], "said": trace["answer"], "model": trace["model"]}
    if given.comment:
        notes["comment"] = given.comment
    if not is_gold:
        quotes = [{"uri": citation["uri"], "quote": citation["quote"]} for citation in cited]
        return {**case, **notes, "to_review": True, "cited": quotes}
    return {**case, **notes}


def _trace(message: KeptMessage, question: str) -> dict[str, Any]:
    return {
        "question": question, "stand_alone": message.stand_alone, "model": message.model, "answer": message.content,
        "status": message.status, "sources": list(message.sources), "citations": list(message.citations),
    }  # fmt: skip
