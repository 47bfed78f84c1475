"""A follow-up question and its history become a question that can be searched for alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.conversation import Message

# A question leans on what was said before when it opens like one of these, or points with one of these words.
_OPENING = re.compile(r"^(and|but|so|then|what about|how about|why|why not|how so|really|ok|also)\b", re.IGNORECASE)
_POINTING = re.compile(r"\b(it|its|they|them|their|that|this|those|these|there|he|she|one|ones|same)\b", re.IGNORECASE)
_WORD = re.compile(r"\w+")
SHORT = 4


def stand_alone(question: str, history: Sequence[Message]) -> str:
    """The question, led by the last one that was asked when it leans on it; otherwise as it is."""
    earlier = next((message.content for message in reversed(history) if message.role == "user"), None)
    if earlier is None or not _leans(question):
        return question
    return f"{earlier.strip()}\n{question.strip()}"


def _leans(question: str) -> bool:
    text = question.strip()
    return bool(_OPENING.search(text) or _POINTING.search(text)) or len(_WORD.findall(text)) < SHORT
