"""The body of POST /v1/chat/completions, as OpenAI defines it.

What Quoth cannot do is refused; what changes nothing about an answer (`user`, `metadata`, ...) is accepted.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.schemas.search_filters import FiltersBody
from api.schemas.store_search import HalfLife
from rag.conversation import Message
from rag.protocols import Sampling

MAX_MESSAGES = 1000
MAX_MESSAGE_CHARACTERS = 100_000
MAX_PARTS = 100
MAX_STOPS = 4
MAX_CONVERSATION_CHARACTERS = 64
MAX_INTEGER = 2**31 - 1
NEW = "new"


class TextPart(BaseModel):
    """One part of a message's content; only text is understood."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: Annotated[str, Field(max_length=MAX_MESSAGE_CHARACTERS)]


class ChatMessage(BaseModel):
    """One message."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: (
        Annotated[str, Field(max_length=MAX_MESSAGE_CHARACTERS)]
        | Annotated[list[TextPart], Field(max_length=MAX_PARTS)]
    )

    def to_message(self) -> Message:
        """The message as the engine knows it."""
        text = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        return Message("system" if self.role == "developer" else self.role, text)


class ChatStreamOptions(BaseModel):
    """Options of a streamed answer."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class ResponseFormat(BaseModel):
    """Only plain text is written."""

    type: Literal["text"]


class ChatCompletionRequest(BaseModel):
    """The request."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "model": "quoth/default",
                    "messages": [{"role": "user", "content": "Which class are trains booked in?"}],
                }
            ]
        },
    )

    model: Annotated[str, Field(description="quoth/STORE, or quoth for the default store", examples=["quoth/default"])]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = False
    stream_options: ChatStreamOptions | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    max_tokens: Annotated[int | None, Field(ge=1, le=MAX_INTEGER)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=MAX_INTEGER)] = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    seed: Annotated[int | None, Field(ge=-(2**63), le=2**63 - 1)] = None
    n: Literal[1] | None = 1
    response_format: ResponseFormat | None = None
    # Ours: the ledger keeps this conversation, and knows its history.
    conversation: Annotated[
        str | None,
        Field(min_length=1, max_length=MAX_CONVERSATION_CHARACTERS, description="id of a conversation, or `new`"),
    ] = None

    # Ours too: which documents the answer may quote, and how much their age counts. `file_search` has them elsewhere.
    filters: FiltersBody = None
    recency_half_life_days: HalfLife = None

    # They change nothing about the answer.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: Literal[False] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None

    @model_validator(mode="after")
    def _ends_with_a_question(self) -> ChatCompletionRequest:
        if self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's question")
        if self.conversation is not None and any(message.role != "user" for message in self.messages):
            raise ValueError("with a conversation, messages hold what the user says now, and nothing else")
        return self

    @property
    def question(self) -> str:
        """The last message; with a conversation, all of them."""
        asked = self.messages if self.conversation is not None else self.messages[-1:]
        return "\n\n".join(message.to_message().content for message in asked)

    @property
    def history(self) -> list[Message]:
        """The messages before it; with a conversation, the ledger has them."""
        if self.conversation is not None:
            return []
        return [message.to_message() for message in self.messages[:-1]]

    @property
    def sampling(self) -> Sampling:
        """How the model picks its words."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(
            max_tokens=self.max_completion_tokens or self.max_tokens, temperature=self.temperature, top_p=self.top_p,
            stop=tuple(stops), seed=self.seed,
        )  # fmt: skip
