"""Conversations and their messages, as responses carry them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from rag.citations import Citation
from rag.conversation import Conversation, KeptMessage, Role
from rag.events import Answerable, CheckedSentence


class ConversationObject(BaseModel):
    """A conversation without its messages."""

    id: str
    object: Literal["conversation"]
    model: Annotated[str, Field(examples=["quoth/default"])]
    title: str
    created_at: float
    updated_at: float


class ConversationList(BaseModel):
    """A page of conversations."""

    object: Literal["list"]
    data: list[ConversationObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ConversationMessage(BaseModel):
    """A question, or an answer with what led to it: what follows `created_at` only an answer has."""

    id: str
    object: Literal["conversation.message"]
    role: Role
    content: str
    status: Literal["complete", "incomplete", "failed"]
    created_at: float
    stand_alone: Annotated[str, Field(default="", description="the question as it was searched for")]
    model: Annotated[str, Field(default="")]
    sources: Annotated[list[dict[str, Any]], Field(default=[], description="the passages it might have quoted")]
    citations: Annotated[list[Citation], Field(default=[])]
    usage: Annotated[dict[str, Any], Field(default={})]
    finish_reason: str | None = None
    error_code: str | None = None
    sentences: Annotated[list[CheckedSentence], Field(default=[])]
    answerable: Answerable | None = None


class ConversationMessageList(BaseModel):
    """A page of messages."""

    object: Literal["list"]
    data: list[ConversationMessage]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ConversationDetail(ConversationObject):
    """A conversation, and a page of its messages."""

    messages: ConversationMessageList


class ConversationDeleted(BaseModel):
    """A conversation that is gone."""

    id: str
    object: Literal["conversation.deleted"]
    deleted: Literal[True]


def conversation_object(conversation: Conversation) -> dict[str, Any]:
    """A conversation without its messages."""
    return {
        "id": conversation.id, "object": "conversation", "model": f"quoth/{conversation.store}",
        "title": conversation.title, "created_at": conversation.created_at, "updated_at": conversation.updated_at,
    }  # fmt: skip


def message_object(message: KeptMessage) -> dict[str, Any]:
    """A question, or an answer with what led to it; the id of an answer is its `answer_id`."""
    found = {
        "id": message.id, "object": "conversation.message", "role": message.role, "content": message.content,
        "status": message.status, "created_at": message.created_at,
    }  # fmt: skip
    if message.role != "assistant":
        return found
    return {
        **found, "stand_alone": message.stand_alone, "model": message.model, "sources": list(message.sources),
        "citations": list(message.citations), "usage": dict(message.usage), "finish_reason": message.finish_reason,
        "error_code": message.error_code, "sentences": list(message.sentences), "answerable": message.answerable,
    }  # fmt: skip


def page(objects: Sequence[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """A list as OpenAI's lists are."""
    ends = {"first_id": objects[0]["id"], "last_id": objects[-1]["id"]} if objects else {}
    return {"object": "list", "data": list(objects), "first_id": None, "last_id": None, **ends, "has_more": has_more}
