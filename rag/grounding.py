"""A finished sentence of an answer is matched to the words of a passage that support it, or to none.

The order of tests: the sentence stands in a passage as it is; its figures, names and denials agree with it; enough of
its words do, in much the same order. Nothing here depends on what the model says it has quoted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain
from typing import Final

from rag.agreement import agreement, words_of
from rag.bm25 import BM25Encoder
from rag.citations import Citation, Verdict
from rag.documents import SearchHit
from rag.sentences import split_sentences
from rag.verbatim import VerbatimText

SUPPORTED: Final = 0.8
WEAK: Final = 0.5
LEAST_ORDER: Final = 0.6
WINDOW: Final = 2
PREPARED: Final = 512  # passages, of some ten kilobytes each

_MARKUP = re.compile(r"[*_`#>|]+")
_WORDS = re.compile(r"\w")
_FUNCTION_WORDS = frozenset(
    "am been being can could did do does doe had he her him his i it me may might my our ours out shall she should "
    "so than them those us what where who whom whose would you your been ha wa thi doe becaus also".split()
)
_encoder = BM25Encoder()


@dataclass(frozen=True, slots=True)
class Support:
    """Where a sentence stands: `quote` is a span of characters of the hit's chunk; `score` is 0 to 1."""

    hit: SearchHit
    quote: tuple[int, int]
    score: float
    verdict: Verdict


class _Window:
    """One or two sentences of a passage that follow each other, and their terms."""

    __slots__ = ("distinct", "span", "terms", "text")

    def __init__(self, span: tuple[int, int], text: str, terms: tuple[str, ...]) -> None:
        self.span, self.text, self.terms = span, text, terms
        self.distinct = frozenset(terms)


class _Text:
    """The text of a passage, prepared for matching once; the same passages are found again and again.

    All at once, so that a thread that prepares and one that matches never wait for each other.
    """

    def __init__(self, text: str) -> None:
        spans = split_sentences(text)
        terms = [_terms(text[start:end]) for start, end in spans]
        self.verbatim = VerbatimText(text)
        self.words = frozenset(words_of(text))
        self.windows = [
            _Window(
                (begin, spans[last][1]),
                text[begin : spans[last][1]],
                tuple(chain.from_iterable(terms[first : last + 1])),
            )
            for first, (begin, _) in enumerate(spans)
            for last in range(first, min(first + WINDOW, len(spans)))
        ]


_prepared = lru_cache(maxsize=PREPARED)(_Text)


def prepare(hits: Sequence[SearchHit]) -> None:
    """Prepare the passages of an answer, some milliseconds of work, before its first sentence is checked."""
    for hit in hits:
        _prepared(hit.chunk.text)


@dataclass(frozen=True)
class _Passage:
    """A hit, with the words that may be named although a window does not: those around it, and of the question."""

    hit: SearchHit
    text: _Text
    asked: frozenset[str]

    @cached_property
    def known(self) -> frozenset[str]:
        around = words_of(" ".join([self.hit.title, *self.hit.chunk.headings]))
        return self.text.words | around | self.asked


@dataclass
class Grounder:
    """Matches the sentences of one answer to the hits that were given to the model.

    Attributes:
        hits: in the order in which the model was given them.
        question: whose words a sentence may take up.
    """

    hits: Sequence[SearchHit]
    question: str = ""
    _passages: list[_Passage] = field(init=False)

    def __post_init__(self) -> None:
        asked = frozenset(words_of(self.question))
        self._passages = [_Passage(hit, _prepared(hit.chunk.text), asked) for hit in self.hits]

    @staticmethod
    def says_something(sentence: str) -> bool:
        """Whether there is a word in it; a rule, a fence or a stray sign needs no support."""
        return bool(_WORDS.search(sentence))

    def support(self, sentence: str, claimed: Sequence[int] = ()) -> Support | None:
        """The best support for a sentence, or None when no passage supports it.

        Args:
            sentence: as it was said.
            claimed: numbers of the passages, from 1, that the model says it has it from; they are looked at first.
        """
        passages = [self._passages[number - 1] for number in dict.fromkeys(claimed) if 0 < number <= len(self.hits)]
        passages += [passage for passage in self._passages if passage not in passages]
        for passage in passages:
            span = passage.text.verbatim.find(sentence)
            if span is not None:
                return Support(passage.hit, span, 1.0, "quoted")
        return _by_overlap(sentence, passages)

    def cite(self, sentence: str, answer: tuple[int, int], number: int, claimed: Sequence[int] = ()) -> Citation | None:
        """The citation of a sentence that stands at these characters of the answer, or None."""
        found = self.support(sentence, claimed)
        if found is None:
            return None
        return Citation.of_hit(
            found.hit, number=number, answer=answer, quote=found.quote, support=found.score, verdict=found.verdict
        )


def _by_overlap(sentence: str, passages: Sequence[_Passage]) -> Support | None:
    terms = _terms(sentence)
    distinct = frozenset(terms)
    best: tuple[float, Support] | None = None
    for passage in passages if distinct else ():
        for window in passage.text.windows:
            found = window.distinct
            coverage = len(distinct & found) / len(distinct)
            if coverage < WEAK:
                continue
            agreed = agreement(sentence, window.text, passage.known)
            if agreed == "disagrees":
                continue
            order = _common_in_order(terms, window.terms) / len(terms)
            is_supported = agreed == "agrees" and coverage >= SUPPORTED and order >= LEAST_ORDER
            score = coverage if is_supported else min(coverage, SUPPORTED) * max(order, LEAST_ORDER)
            # Of windows that cover alike, the one with the fewest other words, then the shortest, is the quote.
            spare = 0.001 * len(found - distinct) / len(found) + 1e-7 * len(window.text)
            if best is None or is_supported + score - spare > best[0]:
                support = Support(passage.hit, window.span, score, "supported" if is_supported else "weak")
                best = is_supported + score - spare, support
    return best[1] if best else None


def _terms(text: str) -> tuple[str, ...]:
    return tuple(term for term in _encoder.terms(_MARKUP.sub(" ", text)) if term not in _FUNCTION_WORDS)


def _common_in_order(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for term in first:
        diagonal = 0
        for at, other in enumerate(second, 1):
            diagonal, row[at] = row[at], diagonal + 1 if term == other else max(row[at], row[at - 1])
    return row[-1]
