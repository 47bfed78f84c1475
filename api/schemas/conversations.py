"""Conversations and their messages, as responses carry them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rag.conversation import Conversation, KeptMessage


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
        "error_code": message.error_code,
    }  # fmt: skip


def page(objects: Sequence[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """A list as OpenAI's lists are."""
    ends = {"first_id": objects[0]["id"], "last_id": objects[-1]["id"]} if objects else {}
    return {"object": "list", "data": list(objects), "first_id": None, "last_id": None, **ends, "has_more": has_more}
