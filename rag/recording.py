"""An answer of a conversation is kept in the ledger while it is written, however it ends."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from rag.concurrency import in_thread
from rag.conversation import HistoryShare, Message
from rag.errors import InvalidInputError, QuothError, StorageError
from rag.events import AnswerCompleted, AnswerFailed, CitationAdded, Event, SentenceChecked, SourcesFound, TextDelta
from rag.ledger.conversations import Begun, Conversations, Ending

if TYPE_CHECKING:
    from rag.access import Caller
    from rag.answering import PreparedAnswer
    from rag.assembly import Engine
    from rag.documents import SearchHit

logger = logging.getLogger(__name__)

SAVE_SECONDS: Final = 5.0
INTERRUPTED: Final = "interrupted"


class Recorder:
    """Writes one answer down. `close` it in any case; what did not come to an end by then is `incomplete`."""

    def __init__(self, conversations: Conversations, begun: Begun, model: str) -> None:
        self._conversations = conversations
        self._begun = begun
        self._model = model
        self._text = ""
        self._stand_alone = ""
        self._sources: list[dict[str, Any]] = []
        self._citations: list[dict[str, Any]] = []
        self._sentences: list[dict[str, Any]] = []
        self._answerable: dict[str, float] | None = None
        self._is_ended = False

    @property
    def conversation_id(self) -> str:
        """Of the conversation."""
        return self._begun.conversation_id

    @property
    def answer_id(self) -> str:
        """Of the answer, for feedback."""
        return self._begun.answer_id

    @property
    def history(self) -> tuple[Message, ...]:
        """What was said before, oldest first."""
        return self._begun.history

    def share(self, prompt: tuple[Message, ...]) -> HistoryShare:
        """How much of the conversation a prompt holds."""
        return HistoryShare.of(self._begun.earlier, prompt)

    async def prepared(self, preparing: Awaitable[PreparedAnswer]) -> PreparedAnswer:
        """Wait for an answer's first characters; an answer that fails before them is kept as `failed`."""
        try:
            found = await preparing
        except QuothError as error:
            await self._end(Ending("failed", model=self._model, error_code=error_code(error)))
            raise
        except BaseException as error:
            code = INTERRUPTED if isinstance(error, asyncio.CancelledError) else "internal_error"
            await self._end(Ending("failed", model=self._model, error_code=code))
            raise
        self._stand_alone = found.found.question
        return found

    async def keep(self, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """Pass events on, and the terminal one when it is safe in the ledger; closing it closes `events`."""
        saved_at = time.monotonic()
        try:
            async for event in events:
                self._note(event)
                if isinstance(event, AnswerCompleted):
                    yield await self._complete(event)
                elif isinstance(event, AnswerFailed):
                    await self._break_off(error_code(event.error))
                    yield event
                else:
                    yield event
                if not self._is_ended and time.monotonic() - saved_at >= SAVE_SECONDS:
                    await self._save()
                    saved_at = time.monotonic()
        finally:
            await self.close()
            await events.aclose()  # type: ignore[attr-defined]

    async def close(self) -> None:
        """Keep what was said of an answer that came to no end: its reader has left."""
        if not self._is_ended:
            await self._break_off(INTERRUPTED)

    def _note(self, event: Event) -> None:
        if isinstance(event, SourcesFound):
            self._stand_alone = event.question
            self._sources = [_source(hit) for hit in (*event.hits, *event.expansion)]
            self._answerable = asdict(event.answerable) if event.answerable else None
        elif isinstance(event, TextDelta):
            self._text += event.text
        elif isinstance(event, CitationAdded):
            self._citations.append(event.citation.as_dict())
        elif isinstance(event, SentenceChecked):
            self._sentences.append(event.sentence.as_dict())

    async def _save(self) -> None:
        """Keep what was said so far, for the case that this process is killed; the answer can do without."""
        try:
            await in_thread(self._conversations.save, self._begun, self._text)
        except StorageError as error:
            logger.warning("an answer could not be kept so far: %s", error)

    async def _complete(self, done: AnswerCompleted) -> Event:
        """Keep a whole answer; where that fails, the reader is told so, since its next question would miss it."""
        self._text = done.text
        self._citations = [citation.as_dict() for citation in done.citations]
        usage = {"prompt_tokens": done.usage.prompt_tokens, "completion_tokens": done.usage.completion_tokens}
        try:
            await self._end(self._ending(status="complete", usage=usage, finish_reason=done.finish_reason))
        except StorageError as error:
            return AnswerFailed(error=error, text=done.text)
        return done

    async def _break_off(self, code: str) -> None:
        """Keep what was said; its reader is told of another error, or has left, so that a second one is logged."""
        try:
            await self._end(self._ending(status="incomplete", error_code=code))
        except StorageError as error:
            logger.warning("an answer that broke off could not be kept: %s", error)

    def _ending(self, **how: Any) -> Ending:
        return Ending(
            content=self._text, stand_alone=self._stand_alone, model=self._model, sources=self._sources,
            citations=self._citations, sentences=self._sentences, answerable=self._answerable, **how,
        )  # fmt: skip

    async def _end(self, ending: Ending) -> None:
        self._is_ended = True
        # Who leaves cancels this task, too; the ledger must still hear of it.
        await asyncio.shield(in_thread(self._conversations.finish, self._begun, ending))


async def begin_recording(
    engine: Engine,
    store: str,
    conversation_id: str | None,
    question: str,
    *,
    caller: Caller | None = None,
    take_over: bool = False,
) -> Recorder:
    """Append a question to a conversation, or to a new one.

    Args:
        store: name of the store that is asked; a conversation stays with its store.
        conversation_id: None makes a new conversation.
        caller: who asks, and must own the conversation; without one, the operator.
        take_over: see `Conversations.begin`.

    Raises:
        StoreNotFoundError, NotFoundError: there is no such store or conversation.
        InvalidInputError: the conversation is another store's, or the question is blank.
        ConversationBusyError: another answer is being written in it.
    """
    conversations = engine.conversations
    owner = await in_thread(engine.stores.get, store)
    if conversation_id is None:
        if not question.strip():
            raise InvalidInputError("The question is empty: ask something.")
        conversation_id = (await in_thread(conversations.create, owner.id, question, caller)).id
    else:
        found = await in_thread(conversations.get, conversation_id, caller)
        if found.store_id != owner.id:
            raise InvalidInputError(
                f"The conversation {conversation_id} is about the store {found.store!r}, not {store!r}. Ask that "
                "store, or begin a new conversation."
            )
    begun = await in_thread(conversations.begin, conversation_id, question, take_over=take_over)
    return Recorder(conversations, begun, engine.settings.chat.model)


def _source(hit: SearchHit) -> dict[str, Any]:
    scores = {name: score for name, score in asdict(hit.scores).items() if score is not None}
    return {"chunk_id": hit.chunk.id, "uri": hit.uri, "score": hit.score, "scores": scores}


def error_code(error: QuothError) -> str:
    """A stable word for an error: its class, without `Error`, in lower case with `_` between words."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
