"""From a question to a cited answer, as a stream of typed events."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from rag.bare_urls import standing_in
from rag.citations import Citation
from rag.condensing import Condenser
from rag.containment import Containment
from rag.conversation import Message
from rag.errors import QuothError, UpstreamUnavailableError
from rag.events import (
    AnswerCompleted,
    AnswerFailed,
    CitationAdded,
    Event,
    FinishReason,
    SourcesFound,
    TextDelta,
    Usage,
)
from rag.filters import Filter
from rag.grounding import Grounder
from rag.prompting import build_prompt
from rag.protocols import ChatModel, ModelDelta, Prompt, Sampling
from rag.refusal import NO_ANSWER
from rag.retrieval import Retriever, SearchResult
from rag.sentences import SentenceSplitter
from rag.settings import ChatSettings

logger = logging.getLogger(__name__)

# A sign that may end a sentence, or a line's end, and less than a whole word behind it: the splitter decides when it
# has seen that word.
_OPEN_END = re.compile(r"(?<=[.!?…:'\")\]”’*_])\s+\S*$|\s*\n\s*\S*$")
LONGEST_OPEN_END = 200


@dataclass(frozen=True, slots=True)
class PreparedAnswer:
    """An answer whose first characters are there: what could fail before them has not.

    Pass it to `Answerer.stream`, or `close` it.
    """

    found: SearchResult
    prompt: Prompt
    first: ModelDelta
    rest: AsyncIterator[ModelDelta]

    async def close(self) -> None:
        """Stop the model."""
        await _close(self.rest)


class Answerer:
    """Retrieves, asks the model, and cites what it says."""

    def __init__(
        self, retriever: Retriever, model: ChatModel, settings: ChatSettings, condenser: Condenser | None = None
    ) -> None:
        """Without a condenser, follow-up questions are condensed by the words of the history."""
        self._retriever = retriever
        self._model = model
        self._settings = settings
        self._condenser = condenser or Condenser()

    async def prepare(
        self,
        store: str | Sequence[str],
        question: str,
        history: Sequence[Message] = (),
        *,
        k: int | None = None,
        where: Filter | None = None,
        groups: frozenset[str] | None = None,
        sampling: Sampling | None = None,
    ) -> PreparedAnswer:
        """Retrieve, and wait for the model's first characters.

        Args:
            store: the store's name, or the names of several.
            history: earlier messages, oldest first.
            k: passages that the answer may quote; None takes the configured number.
            where: what a passage must satisfy besides.
            groups: of the caller, see `ChunkStore.search`.

        Raises:
            QuothError: anything that fails before the answer begins, as `Retriever.search`, `build_prompt` and
                `ChatModel.stream` raise it.
        """
        wanted_question = await self._condenser.stand_alone(question, history)
        found = await self._retriever.search(store, wanted_question, k=k, where=where, groups=groups)
        wanted = self._complete(sampling or Sampling())
        prompt = build_prompt(
            question,
            history,
            found.hits,
            budget_tokens=self._model.context_tokens - (wanted.max_tokens or 0),
            count=self._model.count_tokens,
        )
        deltas = self._model.stream(prompt, wanted) if prompt.hits else _refuse()
        try:
            first = await anext(deltas)
        except StopAsyncIteration:
            raise UpstreamUnavailableError(f"The model {self._model.name} ended without an answer.") from None
        except BaseException:
            await _close(deltas)
            raise
        return PreparedAnswer(found=found, prompt=prompt, first=first, rest=deltas)

    async def stream(self, prepared: PreparedAnswer) -> AsyncIterator[Event]:
        """Yield events; the last one, and only it, is AnswerCompleted or AnswerFailed. Raises nothing of its own.

        Closing the iterator stops the model.
        """
        passages = [hit.chunk.text for hit in prepared.prompt.hits]
        draft = _Draft(Grounder(prepared.prompt.hits), Containment(standing_in(passages)))
        try:
            yield SourcesFound(question=prepared.found.question, hits=prepared.found.hits)
            delta: ModelDelta | None = prepared.first
            while delta is not None:
                for event in draft.write(delta):
                    yield event
                delta = await anext(prepared.rest, None)
            for event in draft.finish():
                yield event
            yield self._completed(draft, prepared)
        except QuothError as error:
            yield AnswerFailed(error=error, text=draft.text)
        except Exception as error:
            # The edge of a stream: whatever went wrong, the client must see that the answer is not whole.
            logger.exception("an answer broke off")
            yield AnswerFailed(error=QuothError(f"The answer broke off: {type(error).__name__}."), text=draft.text)
        finally:
            await prepared.close()

    def _complete(self, sampling: Sampling) -> Sampling:
        ceiling = self._settings.max_answer_tokens
        return replace(
            sampling,
            max_tokens=min(sampling.max_tokens or ceiling, ceiling, self._model.context_tokens // 2),
            temperature=self._settings.temperature if sampling.temperature is None else sampling.temperature,
        )

    def _completed(self, draft: _Draft, prepared: PreparedAnswer) -> AnswerCompleted:
        if draft.finish_reason is None:
            raise UpstreamUnavailableError(f"The model {self._model.name} was cut off before its answer was whole.")
        usage = draft.usage or Usage(
            prompt_tokens=sum(self._model.count_tokens(message.content) for message in prepared.prompt.messages),
            completion_tokens=self._model.count_tokens(draft.text),
        )
        return AnswerCompleted(draft.text, tuple(draft.citations), usage, draft.finish_reason)


class _Draft:
    """The answer so far: passes text on, and cites each sentence when its end is seen."""

    def __init__(self, grounder: Grounder, containment: Containment) -> None:
        self.text = ""
        self.citations: list[Citation] = []
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self._containment = containment
        self._grounder = grounder
        self._splitter = SentenceSplitter()
        self._said = 0

    def write(self, delta: ModelDelta) -> list[Event]:
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.usage = delta.usage or self.usage
        return self._add(self._containment.feed(delta.text))

    def _add(self, contained: str) -> list[Event]:
        self.text += contained
        events: list[Event] = []
        for span in self._splitter.feed(contained):
            events += self._cite(span)
        return events + self._say(self._settled())

    def finish(self) -> list[Event]:
        events = self._add(self._containment.finish())
        for span in self._splitter.finish():
            events += self._cite(span)
        return events + self._say(len(self.text))

    def _settled(self) -> int:
        """The end of what may be passed on: where a sentence may have ended, its citation goes before the next word."""
        begin = max(self._said, len(self.text) - LONGEST_OPEN_END)
        open_end = _OPEN_END.search(self.text, begin)
        return open_end.start() if open_end else len(self.text.rstrip())

    def _cite(self, span: tuple[int, int]) -> list[Event]:
        events = self._say(span[1])
        citation = self._grounder.cite(self.text[span[0] : span[1]], span, len(self.citations) + 1)
        if citation is None:
            return events
        self.citations.append(citation)
        return [*events, CitationAdded(citation)]

    def _say(self, end: int) -> list[Event]:
        if end <= self._said:
            return []
        piece = self.text[self._said : end]
        self._said = end
        return [TextDelta(piece)]


async def _refuse() -> AsyncIterator[ModelDelta]:
    yield ModelDelta(text=NO_ANSWER, finish_reason="stop", usage=Usage())


async def _close(deltas: AsyncIterator[ModelDelta]) -> None:
    close = getattr(deltas, "aclose", None)
    if close is not None:
        await close()
