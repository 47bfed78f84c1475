"""An answer of POST /v1/chat/completions, as the document describes it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

from rag.citations import Citation
from rag.conversation import HistoryShare
from rag.events import Answerable, CheckedSentence, FinishReason


class UrlCitation(BaseModel):
    """The document behind a span of the answer."""

    start_index: int
    end_index: int
    title: str
    url: str


class UrlAnnotation(BaseModel):
    """A citation as OpenAI's clients know it."""

    type: Literal["url_citation"]
    url_citation: UrlCitation


class AnswerMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"]
    content: str
    refusal: None
    annotations: list[UrlAnnotation]


class ChatChoice(BaseModel):
    """The one answer."""

    index: Literal[0]
    message: AnswerMessage
    logprobs: None
    finish_reason: FinishReason


class ChatUsage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(BaseModel):
    """A whole answer. What follows `usage` is Quoth's own."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: Annotated[list[ChatChoice], Field(min_length=1, max_length=1)]
    usage: ChatUsage
    citations: list[Citation]
    sentences: list[CheckedSentence]
    answerable: Answerable | None
    refused: bool
    history: HistoryShare
    conversation: Annotated[str, Field(default="", description="where it is kept; only if it was asked for")]
    answer_id: Annotated[str, Field(default="", description="what feedback names; only of a conversation")]


# It stands apart, since FastAPI leaves null out of the examples of models.
EXAMPLE: Final[dict[str, Any]] = {
    "id": "chatcmpl-5d1f7e0a9c3b4d2e8f6a7b1c",
    "object": "chat.completion",
    "created": 1767225600,
    "model": "quoth/default",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant", "content": "Trains are booked in second class.", "refusal": None,
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {
                            "start_index": 0, "end_index": 34, "title": "Travel", "url": "file:///handbook/travel.md"
                        },
                    }
                ],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 210, "completion_tokens": 8, "total_tokens": 218},
    "citations": [
        {
            "id": "cit_1", "store_id": "1d0a2c6e-4f3b-5a8d-9c7e-2b1f0e9d8c7a", "title": "Travel",
            "document_id": "5c9f1e2d-7a6b-5d4c-8e3f-0a1b2c3d4e5f", "uri": "file:///handbook/travel.md",
            "generation": "9b0c5f2e7d1a4c38", "chunk_id": "7e2d1c0b-3f4a-5b6c-9d8e-1f2a3b4c5d6e",
            "answer_start": 0, "answer_end": 34, "quote": "Trains are booked in second class.", "char_start": 22,
            "char_end": 56, "page_start": None, "page_end": None, "headings": ["Travel", "Trains"],
            "locator": {"lines": [5, 5]}, "scores": {"dense": 0.71, "sparse": 6.2, "fused": 1.0, "rerank": None},
            "support": 1.0, "verdict": "quoted",
        }
    ],
    "sentences": [
        {
            "text": "Trains are booked in second class.", "start": 0, "end": 34, "verdict": "quoted", "support": 1.0,
            "citations": ["cit_1"],
        }
    ],
    "answerable": {"probability": 0.93, "threshold": 0.5},
    "refused": False,
    "history": {"kept": 0, "left_out": 0},
}  # fmt: skip
