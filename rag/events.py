"""What an answer emits while it is made: any number of events, then exactly one of the two terminal ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rag.citations import Citation
from rag.documents import SearchHit
from rag.errors import QuothError

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that went into the model and came out of it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """Retrieval is done: the passages that the answer may quote, best first."""

    question: str
    hits: tuple[SearchHit, ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next characters of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CitationAdded:
    """A finished sentence was matched to its source."""

    citation: Citation


@dataclass(frozen=True, slots=True)
class AnswerCompleted:
    """Terminal: the answer is whole."""

    text: str
    citations: tuple[Citation, ...]
    usage: Usage
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class AnswerFailed:
    """Terminal: the answer broke off after its first character; what was said so far is not to be trusted as whole."""

    error: QuothError
    text: str


Event = SourcesFound | TextDelta | CitationAdded | AnswerCompleted | AnswerFailed
