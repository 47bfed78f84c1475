"""How much of a question is copied from the passage that answers it.

A question written from a passage tends to use the passage's own words, and people who have not read it do not. A set
with a high share of copied words flatters every search by words, so the share stands beside each case.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from statistics import fmean

from rag.bm25 import BM25Encoder

COPIED = 0.9
_QUESTION_WORDS = frozenset(
    "do does did can could may might must shall should much many long whom whose our us me my".split()
)


@cache
def _encoder() -> BM25Encoder:
    return BM25Encoder()


def content_words(text: str) -> frozenset[str]:
    """The stems of a text, without function words and the words that only ask."""
    kept = " ".join(word for word in text.split() if word.strip("?.,:;!").casefold() not in _QUESTION_WORDS)
    return frozenset(_encoder().terms(kept))


def overlap(question: str, passage: str) -> float:
    """The share of the question's content words that stand in the passage, 0 to 1; 0 for a question without any."""
    asked = content_words(question)
    return len(asked & content_words(passage)) / len(asked) if asked else 0.0


def mean_overlap(shares: Iterable[float]) -> float:
    """The mean of the shares; 0 when there is none."""
    values = list(shares)
    return fmean(values) if values else 0.0


def copied(shares: Iterable[float]) -> int:
    """How many questions take nearly all of their words from their passage: a share of `COPIED` or more."""
    return sum(share >= COPIED for share in shares)
