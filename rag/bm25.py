"""Text to BM25 term weights; the vector store adds each term's inverse document frequency.

A word is a run of letters, marks and digits of any script, case-folded, stemmed for the language of its passage, and
without its accents. A name such as `max_tokens`, `maxTokens` or `v1.2` is kept whole, and its parts as well. A number
is the same with and without commas between its thousands. Where a script writes no spaces, or joins particles to words
as Hangul does, short runs of characters stand for words.

A question is often too short to tell its language; it then asks for the stems of every language of its script. Stems of
another language than the script's own carry its name, so that those of languages that a store does not hold find
nothing, instead of other words. Beside such a stem stands the word as written, for names that are asked for in another
language. docs/decisions/0014 says what was measured.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import regex

from rag.documents import SparseVector
from rag.folding import fold
from rag.languages import STOP_WORDS, candidates_of, language_of, languages_of
from rag.stemming import MAX_CACHED, Stemmer

# Chosen on public sets: benchmarks/sparse.py.
K1 = 1.5
B = 0.65
# The store knows no average length, so it is a constant, in words that count: about that of a passage of two hundred
# tokens. The sets' own averages go from 48 to 453.
AVERAGE_WORDS = 80
MAX_WORD = 64
WORDS_PER_CHARACTER = 1 / 3  # of scripts without spaces; otherwise their passages would be taken for long ones
MAX_UNTOLD = 16  # different words; more that do not tell their language are of one that passages do not tell, either
PAIR, TRIPLE = 2, 3  # Thai and its neighbours spell their vowels out: it takes more characters to make a word

_RUN = regex.compile(r"[\p{L}\p{M}\p{N}_]+(?:[.\-][\p{L}\p{M}\p{N}_]+)*")
_THOUSANDS = regex.compile(r"(?<![\p{L}\p{N}_.,\-])\p{Nd}{1,3}(?:,\p{Nd}{3})+(?![\p{L}\p{N}_]|,\p{N})")
_SPELLED = regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_UNSPACED = regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]+|[\p{Han}\p{Hiragana}\p{Katakana}ー]+|\p{Hangul}+")
_PART = regex.compile(r"\p{Lu}?[\p{Ll}\p{Lo}\p{M}]+|\p{Lu}+(?!\p{Ll})|\p{N}+|[\p{L}\p{M}]+")
_NAME = regex.compile(r"[\p{N}_]")  # belongs to no language
_UNACCENTED = ("english", "greek", "hindi")  # whose stemmers do as well without accents
_CHARACTER = regex.compile(r"\X")


class BM25Encoder:
    """BM25 weights of passages, and queries that select them; may be shared by threads.

    Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
    """

    def __init__(self, language: str = "english") -> None:
        """Args: `language` is what words in Latin letters are taken for where nothing tells."""
        self._default = language
        self._stemmers = {each: Stemmer(each) for each in {*STOP_WORDS, language}}
        self._known: dict[str, dict[str, tuple[tuple[str, ...], int]]] = {}

    @property
    def fingerprint(self) -> str:
        """Names all that stored weights depend on."""
        return f"bm25-3;{self._default};k1={K1};b={B};avg={AVERAGE_WORDS}"

    def encode_passage(self, text: str) -> SparseVector:
        """Saturated term frequencies, normalised by length."""
        words, runs = _split(text)
        said = Counter(words)
        language = language_of(_folded(said), self._default)
        length, counts = 0.0, Counter[str]()
        for word, times in said.items():
            terms, forms = self._terms_of_passage(word, language)
            length += forms * times
            for term in terms:
                counts[term] += times
        for run in runs:
            characters, size = _characters(run)
            length += len(characters) * WORDS_PER_CHARACTER
            for each in range(1, size + 1):
                counts.update(_grams(characters, each))
        norm = K1 * (1 - B + B * length / AVERAGE_WORDS)
        return _vector({term: count * (K1 + 1) / (count + norm) for term, count in counts.items()})

    def encode_query(self, text: str) -> SparseVector:
        """How often each term stands in the question: what is said twice counts twice."""
        words, runs = _split(text)
        said = _folded(Counter(words))
        languages = candidates_of(said, self._default)
        if not languages and len(said) > MAX_UNTOLD:
            languages = (self._default,)
        stop_words = self._stop_words(languages[0] if languages else self._default)
        counts = Counter(
            term
            for word in words
            for form in _forms(word, stop_words)
            for term in dict.fromkeys(self._variants(form, languages))
        )
        counts.update(gram for run in runs for gram in _longest_grams(run))
        return _vector({term: float(count) for term, count in counts.items()})

    def terms(self, text: str) -> Iterator[str]:
        """The terms of a text, as if in the default language, in order, with repeats; runs of characters last."""
        words, runs = _split(text)
        for word in words:
            yield from self._terms_of_passage(word, self._default)[0]
        for run in runs:
            yield from _longest_grams(run)

    def _stop_words(self, language: str) -> frozenset[str]:
        return STOP_WORDS.get(language, frozenset())

    def _terms_of_passage(self, word: str, language: str) -> tuple[tuple[str, ...], int]:
        """The terms of a word and its parts, and how many words these are."""
        known = self._known.setdefault(language, {})
        found = known.get(word)
        if found is None:
            forms = _forms(word, self._stop_words(language))
            terms = tuple(term for form in forms for term in self._stems(form, language))
            if len(known) >= MAX_CACHED:
                known.clear()
            found = known[word] = terms, len(forms)
        return found

    def _stems(self, form: str, language: str) -> Iterator[str]:
        script = languages_of(form, self._default)
        if language in script[1:] and not _NAME.search(form):
            yield self._marked(form, language)
            yield _as_written(form)
        else:
            yield self._stem(form, script[0])

    def _variants(self, form: str, languages: Sequence[str]) -> Iterator[str]:
        script = languages_of(form, self._default)
        yield self._stem(form, script[0])
        if len(script) > 1 and not _NAME.search(form):
            yield _as_written(form)
            for language in script[1:]:
                if not languages or language in languages:
                    yield self._marked(form, language)

    def _marked(self, form: str, language: str) -> str:
        return f"{language}:{self._stem(form, language)}"

    def _stem(self, form: str, language: str) -> str:
        if language == "turkish":
            form = form.replace("I", "ı").replace("İ", "i")
        if language in _UNACCENTED:
            return self._stemmers[language].stem(fold(form.casefold()))
        stem = self._stemmers[language].stem(form.casefold())
        # In Vietnamese the accents are the word; without them it is found as it is written.
        return stem if language == "vietnamese" else fold(stem)


def _split(text: str) -> tuple[list[str], list[str]]:
    """Words in their order, and runs of a script without spaces in theirs."""
    normal = text if text.isascii() else unicodedata.normalize("NFKC", text)
    normal = _THOUSANDS.sub(lambda number: number.group().replace(",", ""), normal)
    runs: list[str] = []
    if not normal.isascii():
        runs = _UNSPACED.findall(normal)
        if runs:
            normal = _UNSPACED.sub(" ", normal)
    return _RUN.findall(normal), runs


def _folded(said: Counter[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word, times in said.items():
        folded = word.casefold()
        counts[folded] = counts.get(folded, 0) + times
    return counts


def _forms(word: str, stop_words: frozenset[str]) -> list[str]:
    """A word and, of a name, its parts; without stop words."""
    folded = word.casefold()
    if folded in stop_words or len(folded) > MAX_WORD:
        return []
    if folded.isalpha() and (word == folded or word[1:] == folded[1:] or word.isupper()):
        return [word]
    parts = _PART.findall(word)
    return [word, *(part for part in parts if part.casefold() not in stop_words)] if len(parts) > 1 else [word]


def _as_written(form: str) -> str:
    return f"={fold(form.casefold())}"


def _characters(run: str) -> tuple[list[str], int]:
    """The characters of a run with their marks, and how many of them stand for a word at most."""
    if _SPELLED.match(run):
        return _CHARACTER.findall(run), TRIPLE
    return list(run), PAIR


def _grams(characters: Sequence[str], size: int) -> Iterator[str]:
    return ("".join(characters[at : at + size]) for at in range(len(characters) - size + 1))


def _longest_grams(run: str) -> Iterator[str]:
    characters, size = _characters(run)
    return _grams(characters, min(size, len(characters)))


def _vector(weights: dict[str, float]) -> SparseVector:
    by_index: dict[int, float] = {}
    for term, weight in weights.items():
        index = zlib.crc32(term.encode())
        by_index[index] = by_index.get(index, 0.0) + weight
    indices = sorted(by_index)
    return SparseVector(tuple(indices), tuple(by_index[index] for index in indices))
