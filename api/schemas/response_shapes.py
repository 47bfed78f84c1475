"""What /v1/responses answers with, as the document describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from rag.citations import Citation
from rag.conversation import HistoryShare
from rag.documents import AttributeValue
from rag.events import Answerable, CheckedSentence

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class FileCitation(BaseModel):
    """A citation as OpenAI's clients know it: it stands behind the character at `index`."""

    type: Literal["file_citation"]
    file_id: str
    filename: str
    index: int


class AnswerText(BaseModel):
    """The text of an answer with its citations."""

    type: Literal["output_text"]
    text: str
    annotations: list[FileCitation]
    logprobs: list[Any]


class AskedText(BaseModel):
    """The text of a question."""

    type: Literal["input_text"]
    text: str


class AnswerItem(BaseModel):
    """The answer."""

    id: str
    type: Literal["message"]
    status: ItemStatus
    role: Literal["assistant"]
    content: list[AnswerText]


class AskedItem(BaseModel):
    """A message of a request."""

    id: str
    type: Literal["message"]
    status: Literal["completed"]
    role: Literal["user", "system", "developer"]
    content: list[AskedText]


class SearchResult(BaseModel):
    """A passage that was found."""

    file_id: str
    filename: str
    score: float
    text: str
    attributes: dict[str, AttributeValue]


class SearchItem(BaseModel):
    """The search; its `results` are there when `include` asks for them."""

    id: str
    type: Literal["file_search_call"]
    status: ItemStatus
    queries: list[str]
    results: list[SearchResult] | None


class ResponseError(BaseModel):
    """Why a response is not whole. `type` is Quoth's own: the code of the error."""

    code: Literal["server_error"]
    message: str
    type: str


class IncompleteDetails(BaseModel):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens"]


class ResponseUsage(BaseModel):
    """Tokens."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class ResponseObject(BaseModel):
    """A response. `citations`, `sentences`, `answerable`, `refused` and `history` are Quoth's own."""

    id: Annotated[str, Field(examples=["resp_0f6d3c1e5b7a4d2c9e8f7a6b5c4d3e2f0f6d3c1e5b7a4d2c"])]
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    model: str
    output: list[SearchItem | AnswerItem]
    usage: ResponseUsage | None
    citations: list[Citation]
    sentences: list[CheckedSentence]
    answerable: Answerable | None
    refused: bool
    history: HistoryShare
    instructions: str | None
    previous_response_id: str | None
    metadata: dict[str, str]
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool
    max_tool_calls: int | None
    max_output_tokens: int | None
    temperature: float
    top_p: float | None
    top_logprobs: Literal[0]
    text: dict[str, Any]
    truncation: Literal["auto", "disabled"]
    store: bool
    background: Literal[False]
    reasoning: None
    service_tier: str
    prompt_cache_key: str | None
    safety_identifier: str | None
    user: str | None


class ResponseDeleted(BaseModel):
    """A response that is gone."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputItemList(BaseModel):
    """A page of the messages of a response's own request."""

    object: Literal["list"]
    data: list[AskedItem | AnswerItem]
    first_id: str | None
    last_id: str | None
    has_more: bool
