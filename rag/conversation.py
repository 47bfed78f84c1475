"""Messages of a conversation, and how much history an answer sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: Role
    content: str


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
