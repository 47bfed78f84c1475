"""What an answer emits while it is made: any number of events, then exactly one of the two terminal ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from rag.citations import Citation, Verdict
from rag.documents import SearchHit
from rag.errors import QuothError

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that went into the model and came out of it, and what they cost where prices are set."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Answerable:
    """How likely it is that the documents answer the question, and from where on an answer is tried; both 0 to 1."""

    probability: float
    threshold: float

    @property
    def is_enough(self) -> bool:
        """Whether an answer is tried."""
        return self.probability >= self.threshold


@dataclass(frozen=True, slots=True)
class CheckedSentence:
    """A sentence of an answer, and how well the passages support it.

    `start:end` are characters of the answer; `support` is 0 to 1; `citations` are the ids of those that stand for it.
    """

    text: str
    start: int
    end: int
    verdict: Verdict
    support: float
    citations: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "citations": list(self.citations)}


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """Retrieval is done: the passages that the answer may quote, best first.

    `expansion` is what it may quote besides: what stands around them in their documents.
    """

    question: str
    hits: tuple[SearchHit, ...]
    answerable: Answerable | None = None
    expansion: tuple[SearchHit, ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next characters of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CitationAdded:
    """A finished sentence was matched to its source."""

    citation: Citation


@dataclass(frozen=True, slots=True)
class SentenceChecked:
    """A finished sentence was looked for in the passages; its citations were added before."""

    sentence: CheckedSentence


@dataclass(frozen=True, slots=True)
class AnswerCompleted:
    """Terminal: the answer is whole. `is_refusal` where it says that the documents do not answer."""

    text: str
    citations: tuple[Citation, ...]
    usage: Usage
    finish_reason: FinishReason
    sentences: tuple[CheckedSentence, ...] = ()
    answerable: Answerable | None = None
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class AnswerFailed:
    """Terminal: the answer broke off after its first character; what was said so far is not to be trusted as whole."""

    error: QuothError
    text: str


Event = SourcesFound | TextDelta | CitationAdded | SentenceChecked | AnswerCompleted | AnswerFailed
