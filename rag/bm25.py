"""Text to BM25 term weights; the vector store adds each term's inverse document frequency.

A word is a run of letters, marks and digits of any script, case-folded and stemmed. Where a script writes no spaces,
pairs of neighbouring characters stand for words. A name such as `max_tokens`, `maxTokens` or `v1.2` is kept whole, and
its parts as well. A number is the same with and without commas between its thousands.
"""

from __future__ import annotations

import itertools
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator

import regex

from rag.documents import SparseVector
from rag.stemming import Stemmer

# Chosen on six public sets: benchmarks/retrieval_quality.py.
K1 = 1.5
B = 0.65
# The store knows no average length, so it is a constant: that of a chunk of 256 model tokens, in words that count.
AVERAGE_WORDS = 110
MAX_WORD = 64

_RUN = regex.compile(r"[\p{L}\p{M}\p{N}_]+(?:[.\-][\p{L}\p{M}\p{N}_]+)*")
_THOUSANDS = regex.compile(r"(?<![\p{L}\p{N}_.,\-])\p{Nd}{1,3}(?:,\p{Nd}{3})+(?![\p{L}\p{N}_]|,\p{N})")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]+")
_PART = regex.compile(r"\p{Lu}?[\p{Ll}\p{Lo}\p{M}]+|\p{Lu}+(?!\p{Ll})|\p{N}+|[\p{L}\p{M}]+")
_STOP_WORDS = frozenset(
    "a an and are as at be but by for from has have how i if in into is it its no not of on or s such t that the "
    "their then there these they this to was we were what when where which who why will with would you your".split()
)


class BM25Encoder:
    """BM25 weights of passages, and queries that select them.

    Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
    """

    def __init__(self, language: str = "english") -> None:
        """Args: `language` names a Snowball stemmer."""
        self._language = language
        self._stemmer = Stemmer(language)

    @property
    def fingerprint(self) -> str:
        """Names all that stored weights depend on."""
        return f"bm25-2;{self._language};k1={K1};b={B};avg={AVERAGE_WORDS}"

    def encode_passage(self, text: str) -> SparseVector:
        """Saturated term frequencies, normalised by length."""
        counts = Counter(self.terms(text))
        norm = K1 * (1 - B + B * counts.total() / AVERAGE_WORDS)
        return _vector({term: count * (K1 + 1) / (count + norm) for term, count in counts.items()})

    def encode_query(self, text: str) -> SparseVector:
        """How often each term stands in the question: what is said twice counts twice."""
        return _vector({term: float(count) for term, count in Counter(self.terms(text)).items()})

    def terms(self, text: str) -> Iterator[str]:
        """The terms of a text, in order, with repeats."""
        normal = _THOUSANDS.sub(lambda number: number.group().replace(",", ""), unicodedata.normalize("NFKC", text))
        for run in _RUN.findall(normal):
            yield from self._terms_of_run(run)

    def _terms_of_run(self, run: str) -> Iterator[str]:
        unspaced = _UNSPACED.findall(run)
        for characters in unspaced:
            yield from _pairs(characters)
        if unspaced:
            run = _UNSPACED.sub(" ", run)
        for word in run.split():
            yield from self._terms_of_word(word)

    def _terms_of_word(self, word: str) -> Iterator[str]:
        folded = word.casefold()
        if folded in _STOP_WORDS or len(folded) > MAX_WORD:
            return
        yield self._stemmer.stem(folded)
        if not folded.isalpha() or (word != folded and word[1:] != folded[1:] and not word.isupper()):
            parts = [part.casefold() for part in _PART.findall(word)]
            if len(parts) > 1:
                yield from (self._stemmer.stem(part) for part in parts if part not in _STOP_WORDS)


def _pairs(characters: str) -> Iterator[str]:
    if len(characters) == 1:
        yield characters
    for first, second in itertools.pairwise(characters):
        yield first + second


def _vector(weights: dict[str, float]) -> SparseVector:
    by_index: dict[int, float] = {}
    for term, weight in weights.items():
        index = zlib.crc32(term.encode())
        by_index[index] = by_index.get(index, 0.0) + weight
    indices = sorted(by_index)
    return SparseVector(tuple(indices), tuple(by_index[index] for index in indices))
