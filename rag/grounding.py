"""A finished sentence of an answer is matched to the words of a passage that support it, or to none.

The order of tests: the sentence stands in a passage as it is; its numbers stand in the passage; enough of its words do.
Nothing here depends on what the model says it has quoted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rag.citations import Citation, Verdict
from rag.documents import SearchHit
from rag.sentences import split_sentences
from rag.stemming import Stemmer

SUPPORTED = 0.8
WEAK = 0.5
WINDOW = 2

_WORD = re.compile(r"\w+(?:['’]\w+)?")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_SPACE = re.compile(r"\s+")
_MARKUP = re.compile(r"[*_`#>|]+|\[\d+\]")
_FUNCTION_WORDS = frozenset(
    "a an and are as at be been but by can could did do does for from had has have he her his i if in into is it its "
    "may me my no not of on or our shall she should so than that the their them then there these they this those to "
    "us was we were what when which who will with would you your".split()
)
_stemmer = Stemmer("english")


@dataclass(frozen=True, slots=True)
class Support:
    """Where a sentence stands: `quote` is a span of characters of the hit's chunk."""

    hit: SearchHit
    quote: tuple[int, int]
    score: float
    verdict: Verdict


@dataclass(frozen=True)
class _Passage:
    """A hit, prepared for matching once for all sentences of an answer."""

    hit: SearchHit

    @cached_property
    def windows(self) -> list[tuple[tuple[int, int], frozenset[str], frozenset[str]]]:
        """Runs of one or two sentences: span, stems, numbers."""
        text = self.hit.chunk.text
        spans = split_sentences(text)
        runs = [
            (spans[first][0], spans[last][1])
            for first in range(len(spans))
            for last in range(first, min(first + WINDOW, len(spans)))
        ]
        return [((a, b), _stems(text[a:b]), _numbers(text[a:b])) for a, b in runs]

    def find(self, sentence: str) -> tuple[int, int] | None:
        """The span where the sentence stands word for word, white space aside."""
        words = [re.escape(word) for word in _SPACE.split(sentence.strip()) if word]
        found = re.search(r"\s+".join(words), self.hit.chunk.text) if words else None
        return found.span() if found else None


@dataclass
class Grounder:
    """Matches the sentences of one answer to the hits that were given to the model."""

    hits: Sequence[SearchHit]
    _passages: list[_Passage] = field(init=False)

    def __post_init__(self) -> None:
        self._passages = [_Passage(hit) for hit in self.hits]

    def support(self, sentence: str) -> Support | None:
        """The best support for a sentence, or None when no passage supports it."""
        for passage in self._passages:
            span = passage.find(sentence)
            if span is not None:
                return Support(passage.hit, span, 1.0, "quoted")
        return self._by_overlap(sentence)

    def _by_overlap(self, sentence: str) -> Support | None:
        stems, numbers = _stems(sentence), _numbers(sentence)
        if not stems:
            return None
        best: Support | None = None
        for passage in self._passages:
            for span, found, figures in passage.windows:
                coverage = len(stems & found) / len(stems)
                if coverage < WEAK or not numbers <= figures:
                    continue
                # Of windows that cover alike, the one with the fewest other words, then the shortest, is the quote.
                score = coverage - 0.001 * len(found - stems) / len(found) - 1e-7 * (span[1] - span[0])
                if best is None or score > best.score:
                    verdict: Verdict = "supported" if coverage >= SUPPORTED else "weak"
                    best = Support(passage.hit, span, score, verdict)
        return best

    def cite(self, sentence: str, answer: tuple[int, int], number: int) -> Citation | None:
        """The citation of a sentence that stands at these characters of the answer, or None."""
        found = self.support(sentence)
        if found is None:
            return None
        return Citation.of_hit(
            found.hit, number=number, answer=answer, quote=found.quote, support=max(0.0, found.score),
            verdict=found.verdict,
        )  # fmt: skip


def _stems(text: str) -> frozenset[str]:
    words = {word.casefold() for word in _WORD.findall(_MARKUP.sub(" ", text))} - _FUNCTION_WORDS
    return frozenset(_stemmer.stem(word) for word in words)


def _numbers(text: str) -> frozenset[str]:
    return frozenset(number.replace(",", "") for number in _NUMBER.findall(_MARKUP.sub(" ", text)))
