"""GET and DELETE /v1/conversations: what was asked and answered."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api.dependencies import CallerDep, LiveDep
from api.openapi import shows
from api.schemas.conversations import (
    ConversationDeleted,
    ConversationDetail,
    ConversationList,
    conversation_object,
    message_object,
    page,
)
from rag.concurrency import in_thread

router = APIRouter(tags=["Conversations"])

IdPath = Annotated[str, Path(max_length=64)]
LimitQuery = Annotated[int, Query(ge=1, le=100)]


@router.get("/v1/conversations", **shows(ConversationList))
async def list_conversations(
    live: LiveDep,
    caller: CallerDep,
    limit: LimitQuery = 20,
    after: Annotated[str | None, Query(max_length=64)] = None,
) -> dict[str, Any]:
    """List conversations, those first that were gone on with last; `after` is the `last_id` of the page before."""
    found, has_more = await in_thread(live.engine.conversations.page, limit, after, caller)
    return page([conversation_object(conversation) for conversation in found], has_more)


@router.get("/v1/conversations/{conversation_id}", **shows(ConversationDetail))
async def retrieve_conversation(
    conversation_id: IdPath,
    live: LiveDep,
    caller: CallerDep,
    limit: LimitQuery = 100,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1)] = -1,
) -> dict[str, Any]:
    """One conversation and a page of its messages, oldest first; `after` is how many of them less one came before."""
    conversations = live.engine.conversations
    found = await in_thread(conversations.get, conversation_id, caller)
    messages, has_more = await in_thread(conversations.messages, conversation_id, after, limit, caller)
    shown = page([message_object(message) for message in messages], has_more)
    return {**conversation_object(found), "messages": shown}


@router.delete("/v1/conversations/{conversation_id}", **shows(ConversationDeleted))
async def delete_conversation(conversation_id: IdPath, live: LiveDep, caller: CallerDep) -> dict[str, Any]:
    """Delete a conversation, its messages and their feedback for good."""
    await in_thread(live.engine.conversations.delete, conversation_id, caller)
    return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}
