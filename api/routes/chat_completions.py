"""POST /v1/chat/completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from api.dependencies import AnswerSlotDep, Live, LiveDep
from api.errors import describe
from api.routes.models import store_of_model
from api.schemas.chat_completions import ChatCompletionRequest
from api.streaming import DONE, HEADERS, ClientLeftError, frame, kept_alive, while_connected
from rag.answering import PreparedAnswer
from rag.citations import Citation
from rag.events import AnswerCompleted, AnswerFailed, TextDelta, Usage

router = APIRouter()

CLIENT_CLOSED_REQUEST = 499


@router.post("/v1/chat/completions")
async def create_chat_completion(
    body: ChatCompletionRequest, request: Request, live: LiveDep, cleanup: AnswerSlotDep
) -> Response:
    """Answer the last message from a store, with citations."""
    reply = _Reply(body)
    try:
        prepared = await while_connected(request, _prepare(live, body))
        cleanup.push_async_callback(prepared.close)
        if body.stream:
            frames = kept_alive(_stream(live, prepared, reply))
            return StreamingResponse(frames, media_type="text/event-stream", headers=HEADERS)
        done = await while_connected(request, _collect(live, prepared))
    except ClientLeftError:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return JSONResponse(reply.whole(done))


async def _prepare(live: Live, body: ChatCompletionRequest) -> PreparedAnswer:
    store = store_of_model(body.model, live.engine.settings.store)
    return await live.answerer.prepare(store, body.question, body.history, sampling=body.sampling)


async def _collect(live: Live, prepared: PreparedAnswer) -> AnswerCompleted:
    events = live.answerer.stream(prepared)
    try:
        async for event in events:
            if isinstance(event, AnswerFailed):
                raise event.error
            if isinstance(event, AnswerCompleted):
                return event
    finally:
        await events.aclose()  # type: ignore[attr-defined]
    raise AssertionError("an answer ended without a terminal event")


async def _stream(live: Live, prepared: PreparedAnswer, reply: _Reply) -> AsyncIterator[bytes]:
    """Frames of an answer; the last is `[DONE]`, or an error that says why there is none."""
    events = live.answerer.stream(prepared)
    try:
        yield reply.chunk({"role": "assistant", "content": ""})
        async for event in events:
            if isinstance(event, TextDelta):
                yield reply.chunk({"content": event.text})
            elif isinstance(event, AnswerFailed):
                yield frame(describe(event.error)[1])
            elif isinstance(event, AnswerCompleted):
                for piece in reply.last(event):
                    yield piece
    finally:
        await events.aclose()  # type: ignore[attr-defined]


class _Reply:
    """The envelope of one answer."""

    def __init__(self, body: ChatCompletionRequest) -> None:
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": body.model}
        self._include_usage = bool(body.stream_options and body.stream_options.include_usage)

    def whole(self, done: AnswerCompleted) -> dict[str, Any]:
        message = {
            "role": "assistant", "content": done.text, "refusal": None, "annotations": _annotations(done.citations)
        }  # fmt: skip
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": done.finish_reason}
        return {
            **self._head, "object": "chat.completion", "choices": [choice], "usage": _usage(done.usage),
            "citations": [citation.as_dict() for citation in done.citations],
        }  # fmt: skip

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None, **extra: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return frame({**self._head, "object": "chat.completion.chunk", "choices": [choice], **extra})

    def last(self, done: AnswerCompleted) -> list[bytes]:
        citations = [citation.as_dict() for citation in done.citations]
        delta = {"annotations": _annotations(done.citations)}
        frames = [self.chunk(delta, done.finish_reason, citations=citations)]
        if self._include_usage:
            usage = {"choices": [], "usage": _usage(done.usage), "citations": citations}
            frames.append(frame({**self._head, "object": "chat.completion.chunk", **usage}))
        return [*frames, DONE]


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


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
