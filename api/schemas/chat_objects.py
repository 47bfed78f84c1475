"""An answer of POST /v1/chat/completions, as the document describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "chatcmpl-5d1f7e0a9c3b4d2e8f6a7b1c",
                    "object": "chat.completion",
                    "created": 1767225600,
                    "model": "quoth/default",
                    "choices": [
                        {
                            "index": 0,
                            "message": {
                                "role": "assistant",
                                "content": "Trains are booked in second class.",
                                "refusal": None,
                                "annotations": [],
                            },
                            "logprobs": None,
                            "finish_reason": "stop",
                        }
                    ],
                    "usage": {"prompt_tokens": 210, "completion_tokens": 8, "total_tokens": 218},
                    "citations": [],
                    "sentences": [],
                    "answerable": None,
                    "refused": False,
                    "history": {"kept": 0, "left_out": 0},
                }
            ]
        }
    )

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
