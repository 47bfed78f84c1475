"""What every refusal and failure looks like: OpenAI's error object."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field


class Error(BaseModel):
    """What went wrong, to what, and what to do next."""

    message: str
    type: Annotated[str, Field(examples=["invalid_request_error"])]
    param: Annotated[str | None, Field(description="the field or parameter that is wrong, if it is one")]
    code: Annotated[str, Field(description="a stable word", examples=["invalid_request"])]


class ErrorResponse(BaseModel):
    """The body of every status from 400 on."""

    error: Error


class HealthStatus(BaseModel):
    """How the process is."""

    status: Annotated[str, Field(examples=["ready"])]
