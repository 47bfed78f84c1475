"""How well a sentence answers a question, by its words.

The measure is the share of the question's inverse document frequency that the sentence covers, where the documents are
the sentences at hand; words of its heading and of the sentence before count in part, because they are what a pronoun
stands for. Cues of the question's kind (who, when, how many) and the place of the hit break near ties.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import snowballstemmer

from rag.backends.chat.quotable import Quotable

HEADING_WEIGHT = 0.5
QUESTION_BEFORE_WEIGHT = 0.9
BEFORE_WEIGHT = 0.25
CUE_WEIGHT = 0.15
HIT_WEIGHT = 0.1
LENGTH_PENALTY = 0.08
TYPICAL_WORDS = 25

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|[^\W_]+(?:['’][^\W_]+)?")
_IDEOGRAPHIC = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_FUNCTION_WORDS = frozenset(
    [
        *("a", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do", "does"),
        *("for", "from", "had", "has", "have", "he", "her", "his", "how", "i", "if", "in", "into", "is", "it", "its"),
        *("may", "me", "might", "my", "of", "on", "or", "our", "shall", "she", "should", "so", "some", "than", "that"),
        *("the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "us", "was", "we", "were"),
        *("what", "when", "where", "which", "who", "whom", "whose", "why", "will", "with", "would", "you", "your"),
    ]
)
_NUMBER = r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|hundred|thousand|million|half)\b"
_DATE = (
    r"\b1\d{3}\b|\b20\d\d\b|\b\d+(?:st|nd|rd|th)\b|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|\b(?:January|February|"
    r"March|April|May|June|July|August|September|October|November|December)\b|\d\s?(?:days?|weeks?|months?|years?)\b"
)
_NAME = r"(?<=[^.!?]\s)[A-Z][\w’'-]+"
_CUES = [
    (re.compile(r"\bhow (?:many|much|long|old|far|often|large|big|tall|fast)\b|\bwhat (?:number|share|percentage)"),
     re.compile(_NUMBER, re.IGNORECASE)),
    (re.compile(r"\bwhen\b|\b(?:what|which) (?:year|date|day|month|century|time)\b"), re.compile(_DATE)),
    (re.compile(r"\bwho(?:m|se)?\b|\bwhere\b|\b(?:what|which) (?:person|company|city|country|place|name)\b"),
     re.compile(_NAME)),
    (re.compile(r"\bwhy\b|\bwhat (?:caused|reason)"),
     re.compile(r"\bbecause\b|\bsince\b|\bdue to\b|\bso that\b|\bin order to\b|\bcaused?\b|\breasons?\b", re.I)),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scored:
    """A sentence, the question's terms that it holds itself, the share of the question it covers, and its score."""

    quotable: Quotable
    terms: frozenset[str]
    coverage: float
    score: float


class _Stems:
    """Content words to stems, each word once. A stemmer has state, so each question has its own."""

    def __init__(self) -> None:
        self._stemmer = snowballstemmer.stemmer("english")
        self._known: dict[str, str] = {}

    def of(self, text: str) -> list[str]:
        found: list[str] = []
        for word in _WORD.findall(text):
            if _IDEOGRAPHIC.match(word):
                found += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
                continue
            folded = word.casefold()
            if folded in _FUNCTION_WORDS:
                continue
            if folded not in self._known:
                self._known[folded] = self._stemmer.stemWord(folded.removesuffix("'s").removesuffix("’s"))
            found.append(self._known[folded])
        return found


def score_by_words(question: str, candidates: Sequence[Quotable]) -> list[Scored]:
    """Score each candidate for the question, in their order.

    Returns:
        `coverage` and `score` near 0 to 1; a coverage of 0 means that no content word of the question occurs in the
        sentence, its heading or the sentence before it.
    """
    stems = _Stems()
    asked = frozenset(stems.of(question))
    own = [frozenset(stems.of(candidate.text)) for candidate in candidates]
    weights = _weights(asked, own)
    total = sum(weights.values()) or 1.0
    best_hit = max((candidate.hit.score for candidate in candidates), default=0.0)
    cues = [answer for kind, answer in _CUES if kind.search(question.casefold())]
    scored = []
    for candidate, terms in zip(candidates, own, strict=True):
        found = asked & terms
        shares = dict.fromkeys(found, 1.0)
        _add_context(shares, asked, stems, candidate)
        coverage = sum(weights[term] * share for term, share in shares.items()) / total
        score = coverage
        if coverage:
            score += CUE_WEIGHT * any(cue.search(candidate.text) for cue in cues)
            score += HIT_WEIGHT * (candidate.hit.score / best_hit if best_hit > 0 else 0.0)
            score -= LENGTH_PENALTY * max(0.0, math.log(max(1, len(candidate.text.split())) / TYPICAL_WORDS))
            if candidate.text.endswith("?") or not terms - asked:
                score *= 0.5  # it asks, or repeats the question and tells nothing
        scored.append(Scored(candidate, found, coverage, score))
    return scored


def _weights(asked: frozenset[str], sentences: Sequence[frozenset[str]]) -> dict[str, float]:
    """Inverse document frequency of each of the question's terms. Source: Robertson and Spärck Jones, 1976, + 1."""
    frequency = Counter(term for terms in sentences for term in asked & terms)
    count = len(sentences)
    return {term: math.log(1 + (count - frequency[term] + 0.5) / (frequency[term] + 0.5)) for term in asked}


def _add_context(shares: dict[str, float], asked: frozenset[str], stems: _Stems, candidate: Quotable) -> None:
    before_weight = QUESTION_BEFORE_WEIGHT if candidate.before.endswith("?") else BEFORE_WEIGHT
    heading = f"{candidate.hit.title} {candidate.heading}"
    for text, weight in ((heading, HEADING_WEIGHT), (candidate.before, before_weight)):
        for term in asked.intersection(stems.of(text)):
            shares[term] = max(shares.get(term, 0.0), weight)
