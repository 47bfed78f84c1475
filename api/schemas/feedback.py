"""The body of POST /v1/feedback."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rag.ledger.feedback import Rating

MAX_ID_CHARACTERS = 64
MAX_COMMENT_CHARACTERS = 4000


class FeedbackRequest(BaseModel):
    """What somebody thinks of an answer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"answer_id": "6a0e2f4c-9b1d-4c3e-8f57-2d1b0c9e8a76", "rating": "up"}]},
    )

    answer_id: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS, description="as the answer carries it")]
    rating: Rating
    comment: Annotated[str, Field(max_length=MAX_COMMENT_CHARACTERS)] = ""


class FeedbackObject(BaseModel):
    """What somebody thinks of an answer, and what led to it."""

    id: str
    object: Literal["feedback"]
    answer_id: str
    conversation_id: str
    store_id: str
    rating: Rating
    comment: str
    created_at: float
    trace: dict[str, Any]
