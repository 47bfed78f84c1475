"""POST and GET /v1/feedback: thumbs and comments on answers, and the test cases that come of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.dependencies import CallerDep, LiveDep
from api.openapi import shows
from api.routes.models import resolve_model
from api.schemas.feedback import FeedbackObject, FeedbackRequest
from rag.concurrency import in_thread
from rag.ledger.feedback import Feedback, as_case

router = APIRouter(tags=["Conversations"])


@router.post("/v1/feedback", **shows(FeedbackObject))
async def give_feedback(body: FeedbackRequest, live: LiveDep, caller: CallerDep) -> dict[str, Any]:
    """Rate an answer of a conversation, in place of how it was rated before."""
    given = await in_thread(live.engine.feedback.give, body.answer_id, body.rating, body.comment, caller)
    return _as_object(given)


@router.get(
    "/v1/feedback",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
async def export_feedback(
    live: LiveDep,
    caller: CallerDep,
    export: Annotated[Literal["cases", "feedback"], Query(description="test cases, or all that is known")] = "feedback",
    model: Annotated[str | None, Query(description="quoth/STORE; without it, all stores")] = None,
) -> StreamingResponse:
    """Every feedback, oldest first, one JSON object a line."""
    store_id = None if model is None else (await resolve_model(live, caller, model)).id
    shown = as_case if export == "cases" else _as_object
    lines = (
        json.dumps(shown(given), ensure_ascii=False) + "\n" for given in live.engine.feedback.all(store_id, caller)
    )
    return StreamingResponse(_encoded(lines), media_type="application/x-ndjson")


def _encoded(lines: Iterator[str]) -> Iterator[bytes]:
    for line in lines:
        yield line.encode(errors="replace")


def _as_object(given: Feedback) -> dict[str, Any]:
    return {**asdict(given), "object": "feedback"}
