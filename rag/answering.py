"""From a question to a cited answer, as a stream of typed events."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

from rag.bare_urls import standing_in
from rag.concurrency import in_thread
from rag.condensing import Condenser
from rag.containment import Containment
from rag.conversation import Message
from rag.documents import SearchHit
from rag.draft import Draft
from rag.errors import QuothError, UpstreamUnavailableError
from rag.events import Answerable, AnswerCompleted, AnswerFailed, Event, FinishReason, SourcesFound, TextDelta, Usage
from rag.grounding import Grounder, prepare
from rag.prompt_files import prompt_text
from rag.prompting import build_prompt
from rag.protocols import ChatModel, ModelDelta, Prompt, Sampling
from rag.refusal import refusal
from rag.retrieval import Retriever
from rag.searching import SearchOptions, SearchResult
from rag.settings import ChatSettings
from rag.telemetry import note_answer, note_stage, timed

logger = logging.getLogger(__name__)

Judge = Callable[[SearchResult], Awaitable[Answerable | None]]


@dataclass(frozen=True, slots=True)
class PreparedAnswer:
    """An answer whose first characters are there: what could fail before them has not.

    With `is_refusal` no model was asked: the documents hold nothing, or too little, about the question.

    Pass it to `Answerer.stream`, or `close` it.
    """

    found: SearchResult
    prompt: Prompt
    first: ModelDelta
    rest: AsyncIterator[ModelDelta]
    answerable: Answerable | None = None
    is_refusal: bool = False

    async def close(self) -> None:
        """Stop the model."""
        await _close(self.rest)


class Answerer:
    """Retrieves, asks the model, and cites what it says."""

    def __init__(
        self,
        retriever: Retriever,
        model: ChatModel,
        settings: ChatSettings,
        condenser: Condenser | None = None,
        *,
        judge: Judge | None = None,
        floor: ChatModel | None = None,
    ) -> None:
        """Wire it up.

        Args:
            condenser: without one, follow-up questions are condensed by the words of the history.
            judge: how likely it is that what was found answers the question; without one, an answer is always tried.
            floor: quotes where the policy `strict` leaves nothing of what the model wrote.

        Raises:
            ConfigurationError: the folder of prompts, or one of them, cannot be used.
        """
        self._retriever = retriever
        self._model = model
        self._settings = settings
        self._condenser = condenser or Condenser()
        self._instructions = prompt_text("answer", settings.prompts_dir)
        self._judge = judge
        self._floor = floor

    async def prepare(
        self,
        store: str | Sequence[str],
        question: str,
        history: Sequence[Message] = (),
        *,
        sampling: Sampling | None = None,
        **options: Unpack[SearchOptions],
    ) -> PreparedAnswer:
        """Retrieve, and wait for the model's first characters.

        Args:
            store: the store's name, or the names of several.
            history: earlier messages, oldest first.
            options: of the search.

        Raises:
            QuothError: anything that fails before the answer begins, as `Retriever.search`, `build_prompt` and
                `ChatModel.stream` raise it.
        """
        found, prompt, wanted = await self.compose(store, question, history, sampling=sampling, **options)
        answerable = await self._judge(found) if self._judge else None
        if not prompt.hits or (answerable and not answerable.is_enough):
            said = ModelDelta(refusal(found.question, found.hits), "stop", Usage())
            return PreparedAnswer(found, prompt, said, _nothing(), answerable, is_refusal=True)
        deltas = self._model.stream(prompt, wanted)
        try:
            with timed("first_token"):
                # Meanwhile the passages are made ready, which would keep the event loop from everything else.
                first, _ = await asyncio.gather(anext(deltas), in_thread(prepare, prompt.hits))
        except StopAsyncIteration:
            raise UpstreamUnavailableError(f"The model {self._model.name} ended without an answer.") from None
        except BaseException:
            await _close(deltas)
            raise
        return PreparedAnswer(found, prompt, first, deltas, answerable)

    async def compose(
        self,
        store: str | Sequence[str],
        question: str,
        history: Sequence[Message] = (),
        *,
        sampling: Sampling | None = None,
        **options: Unpack[SearchOptions],
    ) -> tuple[SearchResult, Prompt, Sampling]:
        """Retrieve, and write the prompt that a model would be asked with. As `prepare`, without a model."""
        with timed("condense"):
            wanted_question = await self._condenser.stand_alone(question, history)
        asked: SearchOptions = {**options, "expanded": True}
        found = await self._retriever.search(store, wanted_question, **asked)
        wanted = self._complete(sampling or Sampling())
        prompt = build_prompt(
            question,
            history,
            found.passages,
            instructions=self._instructions,
            budget_tokens=self._model.context_tokens - (wanted.max_tokens or 0),
            count=self._model.count_tokens,
        )
        return found, prompt, wanted

    async def stream(self, prepared: PreparedAnswer) -> AsyncIterator[Event]:
        """Yield events; the last one, and only it, is AnswerCompleted or AnswerFailed. Raises nothing of its own.

        Closing the iterator stops the model.
        """
        draft = self._draft(prepared.prompt.hits, prepared.prompt.question)
        began_at, outcome = time.time(), "left"
        try:
            found = prepared.found
            yield SourcesFound(found.question, found.hits, prepared.answerable, found.expansion)
            if prepared.is_refusal:
                outcome = "refused"
                yield TextDelta(prepared.first.text)
                yield AnswerCompleted(
                    prepared.first.text, (), Usage(), "stop", answerable=prepared.answerable, is_refusal=True
                )
                return
            delta: ModelDelta | None = prepared.first
            while delta is not None:
                for event in draft.write(delta):
                    yield event
                delta = await anext(prepared.rest, None)
            for event in draft.finish():
                yield event
            if draft.finish_reason is None:
                raise UpstreamUnavailableError(f"The model {self._model.name} was cut off before its answer was whole.")
            if not draft.text and self._floor is not None:
                async for event in self._quote(self._floor, prepared, draft):
                    yield event
            done = self._completed(draft, draft.finish_reason, prepared)
            outcome = "refused" if done.is_refusal else "complete"
            yield done
        except QuothError as error:
            outcome = "failed"
            yield AnswerFailed(error=error, text=draft.text)
        except Exception as error:
            # The edge of a stream: whatever went wrong, the client must see that the answer is not whole.
            logger.exception("an answer broke off")
            outcome = "failed"
            yield AnswerFailed(error=QuothError(f"The answer broke off: {type(error).__name__}."), text=draft.text)
        finally:
            self._tell(outcome, draft, prepared, began_at)
            await prepared.close()

    def _tell(self, outcome: str, draft: Draft, prepared: PreparedAnswer, began_at: float) -> None:
        """The tokens of answers that broke off were paid for, too."""
        usage = Usage() if prepared.is_refusal else self._usage(draft, prepared)
        note_answer(outcome, usage)
        note_stage("answer", began_at, time.time() - began_at)
        note_stage("grounding", began_at, draft.grounding_seconds)

    async def _quote(self, floor: ChatModel, prepared: PreparedAnswer, draft: Draft) -> AsyncIterator[Event]:
        """The best quotes, where nothing of what the model wrote could be said."""
        deltas = floor.stream(prepared.prompt, self._complete(Sampling()))
        quoted = self._draft(prepared.prompt.hits, prepared.prompt.question)
        try:
            async for delta in deltas:
                for event in quoted.write(delta):
                    yield event
        finally:
            await _close(deltas)
        for event in quoted.finish():
            yield event
        draft.take_over(quoted)

    def _draft(self, hits: Sequence[SearchHit], question: str) -> Draft:
        allowed = standing_in([hit.chunk.text for hit in hits])
        return Draft(Grounder(hits, question), Containment(allowed), self._settings.grounding)

    def _complete(self, sampling: Sampling) -> Sampling:
        ceiling = self._settings.max_answer_tokens
        return replace(
            sampling,
            max_tokens=min(sampling.max_tokens or ceiling, ceiling, self._model.context_tokens // 2),
            temperature=self._settings.temperature if sampling.temperature is None else sampling.temperature,
        )

    def _priced(self, usage: Usage) -> Usage:
        price_in, price_out = self._settings.price_in, self._settings.price_out
        if price_in is None and price_out is None:
            return usage
        cost = usage.prompt_tokens * (price_in or 0) + usage.completion_tokens * (price_out or 0)
        return replace(usage, cost=cost / 1_000_000)

    def _completed(self, draft: Draft, reason: FinishReason, prepared: PreparedAnswer) -> AnswerCompleted:
        return AnswerCompleted(
            text=draft.text,
            citations=tuple(draft.citations),
            usage=self._usage(draft, prepared),
            finish_reason=reason,
            sentences=tuple(draft.sentences),
            answerable=prepared.answerable,
            is_refusal=draft.is_refusal,
        )

    def _usage(self, draft: Draft, prepared: PreparedAnswer) -> Usage:
        draft.usage = draft.usage or Usage(
            prompt_tokens=sum(self._model.count_tokens(message.content) for message in prepared.prompt.messages),
            completion_tokens=self._model.count_tokens(draft.text),
        )
        return self._priced(draft.usage)


async def _nothing() -> AsyncIterator[ModelDelta]:
    return
    yield


async def _close(deltas: AsyncIterator[ModelDelta]) -> None:
    close = getattr(deltas, "aclose", None)
    if close is not None:
        await close()
