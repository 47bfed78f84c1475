"""Events of an answer to a response: the object, and the events that OpenAI's clients build it from."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from api.errors import describe
from api.schemas.response_objects import (
    BROKEN_OFF,
    annotation,
    answerable_object,
    error_object,
    message_item,
    search_call,
    text_part,
    usage_object,
)
from rag.citations import Citation
from rag.errors import QuothError
from rag.events import (
    AnswerCompleted,
    AnswerFailed,
    CheckedSentence,
    CitationAdded,
    Event,
    SentenceChecked,
    SourcesFound,
    TextDelta,
)
from rag.ledger.responses import ResponseStatus
from rag.recording import INTERRUPTED

Made = list[dict[str, Any]]

SEARCH, ANSWER = 0, 1  # the places of the two items of the output
TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})


class ResponseDraft:
    """A response while it is written. What it makes of an event are events of the API, without their numbers."""

    def __init__(self, head: Mapping[str, Any], *, shows_results: bool) -> None:
        """Args: `head` is what the response says of its request."""
        self._head = head
        self._shows_results = shows_results
        self._call_id, self._message_id = f"fs_{secrets.token_hex(24)}", f"msg_{secrets.token_hex(24)}"
        self._found: SourcesFound | None = None
        self._is_open = False
        self._citations: list[Citation] = []
        self._sentences: list[CheckedSentence] = []
        self._end: dict[str, Any] = {}
        self._number = 0
        self.status: ResponseStatus = "in_progress"
        self.text = ""
        self.failure: QuothError | None = None

    @property
    def is_ended(self) -> bool:
        """Whether no more will come."""
        return self.status != "in_progress"

    def body(self) -> dict[str, Any]:
        """The response as it is now."""
        output = [self._search("completed")] if self._found else []
        if self._is_open:
            output.append(self._message())
        return {
            **self._head, "status": self.status, "output": output, "error": None, "incomplete_details": None,
            "usage": None, "completed_at": None, "citations": [citation.as_dict() for citation in self._citations],
            "sentences": [sentence.as_dict() for sentence in self._sentences],
            "answerable": answerable_object(self._found.answerable if self._found else None), "refused": False,
            **self._end,
        }  # fmt: skip

    def begin(self) -> Made:
        """The first events."""
        return [self._state("created"), self._state("in_progress")]

    def take(self, event: Event) -> Made:
        """What follows from an event of the answer."""
        match event:
            case SourcesFound():
                return self._find(event)
            case TextDelta():
                return self._say(event.text)
            case CitationAdded():
                return self._cite(event.citation)
            case SentenceChecked():
                self._sentences.append(event.sentence)
                return []
            case AnswerCompleted():
                return self._complete(event)
            case AnswerFailed():
                return self.fail(event.error)

    def fail(self, error: QuothError) -> Made:
        """End it as one that broke off; also after it was completed, when it could not be kept."""
        self.failure = error
        self._close("failed", error=error_object(describe(error)[1]["error"]["code"], str(error)))
        return [self._state("failed")]

    def interrupt(self) -> None:
        """End it as one whose reader has left."""
        self._close("failed", error=error_object(INTERRUPTED, BROKEN_OFF))

    def numbered(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """An event with the number behind that of the last one."""
        self._number += 1
        return {**event, "sequence_number": self._number - 1}

    def _find(self, found: SourcesFound) -> Made:
        call = {"item_id": self._call_id, "output_index": SEARCH}
        begun = search_call(self._call_id, "in_progress", (), None)
        self._found = found
        return [
            {"type": "response.output_item.added", "output_index": SEARCH, "item": begun},
            {"type": "response.file_search_call.in_progress", **call},
            {"type": "response.file_search_call.searching", **call},
            {"type": "response.file_search_call.completed", **call},
            {"type": "response.output_item.done", "output_index": SEARCH, "item": self._search("completed")},
        ]

    def _say(self, text: str) -> Made:
        made = self._open()
        self.text += text
        return [*made, self._part("output_text.delta", delta=text, logprobs=[])]

    def _cite(self, citation: Citation) -> Made:
        made = self._open()
        self._citations.append(citation)
        number = len(self._citations) - 1
        added = self._part("output_text.annotation.added", annotation=annotation(citation), annotation_index=number)
        return [*made, added]

    def _open(self) -> Made:
        if self._is_open:
            return []
        self._is_open = True
        item = message_item(self._message_id, "in_progress", ())
        return [
            {"type": "response.output_item.added", "output_index": ANSWER, "item": item},
            self._part("content_part.added", part=text_part("", ())),
        ]

    def _complete(self, done: AnswerCompleted) -> Made:
        made = self._open()
        self._citations, self._sentences = list(done.citations), list(done.sentences)
        end: dict[str, Any] = {"usage": usage_object(done.usage), "refused": done.is_refusal}
        if done.finish_reason == "length":
            self._close("incomplete", **end, incomplete_details={"reason": "max_output_tokens"})
        else:
            self._close("completed", **end, completed_at=int(time.time()))
        if done.answerable:
            self._end["answerable"] = answerable_object(done.answerable)
        return [
            *made,
            self._part("output_text.done", text=self.text, logprobs=[]),
            self._part("content_part.done", part=text_part(self.text, self._citations)),
            {"type": "response.output_item.done", "output_index": ANSWER, "item": self._message()},
            self._state(self.status),
        ]

    def _close(self, status: ResponseStatus, **end: Any) -> None:
        self.status, self._end = status, end

    def _state(self, name: str) -> dict[str, Any]:
        return {"type": f"response.{name}", "response": self.body()}

    def _part(self, name: str, **fields: Any) -> dict[str, Any]:
        place = {"item_id": self._message_id, "output_index": ANSWER, "content_index": 0}
        return {"type": f"response.{name}", **place, **fields}

    def _search(self, status: str) -> dict[str, Any]:
        found = self._found
        hits = found.hits if found and self._shows_results else None
        return search_call(self._call_id, status, [found.question] if found else (), hits)

    def _message(self) -> dict[str, Any]:
        status = "incomplete" if self.status == "failed" else self.status
        return message_item(self._message_id, status, [text_part(self.text, self._citations)])


class Recorder(Protocol):
    """Keeps a draft; see `api.response_recording`."""

    async def keep(self, draft: ResponseDraft, made: Made) -> Made:
        """Keep what a draft has come to, and tell what its reader is to see of it."""
        ...

    async def close(self, draft: ResponseDraft) -> None:
        """Keep a draft that came to no end."""
        ...


async def response_events(
    events: AsyncIterator[Event], draft: ResponseDraft, recorder: Recorder | None
) -> AsyncIterator[dict[str, Any]]:
    """Write a response; yields its events in order. The last, and only it, is terminal.

    A terminal event comes when the response is safe in the ledger. Closing the iterator stops the model.
    """
    try:
        for first in draft.begin():
            yield draft.numbered(first)
        async for event in events:
            made = draft.take(event)
            if recorder:
                made = await recorder.keep(draft, made)
            for each in made:
                yield draft.numbered(each)
    finally:
        try:
            if recorder:
                await recorder.close(draft)
        finally:
            await events.aclose()  # type: ignore[attr-defined]
