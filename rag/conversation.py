"""Conversations and their messages: records, and how much history is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rag.access import DEFAULT_TENANT

Role = Literal["system", "user", "assistant"]
Status = Literal["complete", "incomplete", "failed"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation of the ledger, with the documents of one store; `tenant` and `key_id` have begun it."""

    id: str
    store_id: str
    store: str
    title: str
    created_at: float
    updated_at: float
    tenant: str = DEFAULT_TENANT
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message of the ledger.

    Attributes:
        ordinal: its place in the conversation, from 0.
        status: `incomplete` is an answer that broke off or is being written: `content` is what was said; `failed` is
            one that never began.
        stand_alone: of an answer, the question as it was searched for.
        sources: of an answer, what it might have quoted: `chunk_id`, `uri`, `score` and `scores` of each passage.
        citations: of an answer, as `Citation.as_dict` has them.
        sentences: of an answer, as `CheckedSentence.as_dict` has them; `answerable` likewise.
    """

    id: str
    conversation_id: str
    ordinal: int
    role: Role
    content: str
    status: Status
    created_at: float
    stand_alone: str = ""
    model: str = ""
    sources: tuple[Mapping[str, Any], ...] = ()
    citations: tuple[Mapping[str, Any], ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict)
    finish_reason: str | None = None
    error_code: str | None = None
    sentences: tuple[Mapping[str, Any], ...] = ()
    answerable: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class HistoryShare:
    """How many earlier messages an answer saw, and how many were left out because they were too many."""

    kept: int
    left_out: int

    @classmethod
    def of(cls, earlier: int, prompt: Sequence[Message]) -> HistoryShare:
        """Of so many earlier messages, those in a prompt: it begins with instructions and ends with the question."""
        kept = min(earlier, max(0, len(prompt) - 2))
        return cls(kept, earlier - kept)

    def as_dict(self) -> dict[str, int]:
        """The two numbers as JSON types."""
        return asdict(self)


def recent(history: Sequence[Message], max_tokens: int, count: Callable[[str], int]) -> list[Message]:
    """The latest messages that fit in `max_tokens` together, oldest first; a message is kept whole or not at all."""
    kept: list[Message] = []
    left = max_tokens
    for message in reversed(history):
        left -= count(message.content)
        if left < 0:
            break
        kept.append(message)
    return kept[::-1]
