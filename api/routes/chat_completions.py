"""POST /v1/chat/completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.dependencies import AnswerSlotDep, BudgetDep, CallerDep, Live, LiveDep
from api.errors import describe
from api.openapi import shows
from api.rate_limits import metered
from api.routes.models import resolve_model
from api.schemas.chat_completions import NEW, ChatCompletionRequest
from api.schemas.chat_objects import ChatCompletion
from api.streaming import DONE, ClientLeftError, EventStream, Terminal, encoded, frame, while_connected
from rag.access import Caller
from rag.answering import PreparedAnswer
from rag.citations import Citation
from rag.conversation import HistoryShare
from rag.errors import QuothError
from rag.events import AnswerCompleted, AnswerFailed, Event, TextDelta, Usage
from rag.recording import Recorder, begin_recording

router = APIRouter(tags=["Answers"])

CLIENT_CLOSED_REQUEST = 499
_MARK = "\0"


@router.post(
    "/v1/chat/completions",
    **shows(ChatCompletion, streams="`data:` chunks as OpenAI's clients know them; the last is `[DONE]`, or an error"),
)
async def create_chat_completion(
    body: ChatCompletionRequest,
    request: Request,
    live: LiveDep,
    caller: CallerDep,
    budget: BudgetDep,
    cleanup: AnswerSlotDep,
) -> Response:
    """Answer the last message from a store, with citations."""
    reply = _Reply(body)
    try:
        prepared, recorder = await while_connected(request, _prepare(live, caller, body))
        cleanup.push_async_callback(prepared.close)
        if recorder:
            cleanup.push_async_callback(recorder.close)
        reply.describe(prepared, body, recorder)
        events = metered(live.answerer.stream(prepared), prepared.prompt.messages, budget)
        if recorder:
            events = recorder.keep(events)
        if body.stream:
            return EventStream(_stream(events, reply), _failed)
        done = await while_connected(request, _collect(events))
    except ClientLeftError:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return JSONResponse(reply.whole(done))


async def _prepare(live: Live, caller: Caller, body: ChatCompletionRequest) -> tuple[PreparedAnswer, Recorder | None]:
    store = (await resolve_model(live, caller, body.model)).name
    wanted: dict[str, Any] = {
        "groups": caller.groups, "sampling": body.sampling, "where": body.filters,
        "recency_half_life_days": body.recency_half_life_days,
    }  # fmt: skip
    if body.conversation is None:
        return await live.answerer.prepare(store, body.question, body.history, **wanted), None
    known = None if body.conversation == NEW else body.conversation
    recorder = await begin_recording(live.engine, store, known, body.question, caller=caller)
    preparing = live.answerer.prepare(store, body.question, recorder.history, **wanted)
    return await recorder.prepared(preparing), recorder


async def _collect(events: AsyncIterator[Event]) -> AnswerCompleted:
    try:
        async for event in events:
            if isinstance(event, AnswerFailed):
                raise event.error
            if isinstance(event, AnswerCompleted):
                return event
    finally:
        await events.aclose()  # type: ignore[attr-defined]
    raise AssertionError("an answer ended without a terminal event")


async def _stream(events: AsyncIterator[Event], reply: _Reply) -> AsyncIterator[bytes]:
    """Frames of an answer; the last is `[DONE]`, or an error that says why there is none."""
    try:
        yield reply.chunk({"role": "assistant", "content": ""}, **reply.extra)
        async for event in events:
            if isinstance(event, TextDelta):
                yield reply.text(event.text)
            elif isinstance(event, AnswerFailed):
                yield _failed(event.error)
            elif isinstance(event, AnswerCompleted):
                for piece in reply.last(event):
                    yield piece
    finally:
        await events.aclose()  # type: ignore[attr-defined]


def _failed(error: QuothError) -> Terminal:
    return Terminal(frame(describe(error)[1]))


class _Reply:
    """The envelope of one answer."""

    def __init__(self, body: ChatCompletionRequest) -> None:
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": body.model}
        self._before_text, _, self._behind_text = self.chunk({"content": _MARK}).partition(encoded(_MARK))
        self._include_usage = bool(body.stream_options and body.stream_options.include_usage)
        self.extra: dict[str, Any] = {}

    def describe(self, prepared: PreparedAnswer, body: ChatCompletionRequest, recorder: Recorder | None) -> None:
        """Tell how much of the history the answer sees, and where it is kept."""
        messages = prepared.prompt.messages
        share = recorder.share(messages) if recorder else HistoryShare.of(len(body.history), messages)
        self.extra = {"history": share.as_dict()}
        if recorder:
            self.extra |= {"conversation": recorder.conversation_id, "answer_id": recorder.answer_id}

    def whole(self, done: AnswerCompleted) -> dict[str, Any]:
        message = {
            "role": "assistant", "content": done.text, "refusal": None, "annotations": _annotations(done.citations)
        }  # fmt: skip
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": done.finish_reason}
        return {
            **self._head, "object": "chat.completion", "choices": [choice], "usage": _usage(done.usage),
            **findings(done), **self.extra,
        }  # fmt: skip

    def text(self, text: str) -> bytes:
        """A chunk with the next characters. There are many of these, so what they share is encoded once."""
        return self._before_text + encoded(text) + self._behind_text

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None, **extra: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return frame({**self._head, "object": "chat.completion.chunk", "choices": [choice], **extra})

    def last(self, done: AnswerCompleted) -> list[bytes]:
        found = findings(done) | self.extra
        delta = {"annotations": _annotations(done.citations)}
        frames = [self.chunk(delta, done.finish_reason, **found)]
        if self._include_usage:
            usage = {"choices": [], "usage": _usage(done.usage), **found}
            frames.append(frame({**self._head, "object": "chat.completion.chunk", **usage}))
        return [*frames, DONE]


def findings(done: AnswerCompleted) -> dict[str, Any]:
    """What Quoth knows of a whole answer besides its text, for every dialect."""
    return {
        "citations": [citation.as_dict() for citation in done.citations],
        "sentences": [sentence.as_dict() for sentence in done.sentences],
        "answerable": asdict(done.answerable) if done.answerable else None,
        "refused": done.is_refusal,
    }


def _annotations(citations: tuple[Citation, ...]) -> list[dict[str, Any]]:
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": citation.answer_start, "end_index": citation.answer_end, "title": citation.title,
                "url": citation.uri,
            },
        }
        for citation in citations
    ]  # fmt: skip


def _usage(usage: Usage) -> dict[str, float]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        **({} if usage.cost is None else {"cost": usage.cost}),
    }
