"""The body of POST /v1/feedback."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rag.ledger.feedback import Rating

MAX_ID_CHARACTERS = 64
MAX_COMMENT_CHARACTERS = 4000


class FeedbackRequest(BaseModel):
    """What somebody thinks of an answer."""

    model_config = ConfigDict(extra="forbid")

    answer_id: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS, description="as the answer carries it")]
    rating: Rating
    comment: Annotated[str, Field(max_length=MAX_COMMENT_CHARACTERS)] = ""
