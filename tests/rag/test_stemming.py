"""Stems: those of the reference implementation, also from many threads at once."""

from concurrent.futures import ThreadPoolExecutor

import snowballstemmer

from rag.stemming import Stemmer

WORDS = [
    f"{stem}{end}" for stem in ("relat", "connect", "generat", "nation") for end in ("ed", "ing", "ion", "s", "al")
]


def test_threads_may_share_a_stemmer() -> None:
    wanted = dict(zip(WORDS, snowballstemmer.stemmer("english").stemWords(WORDS), strict=True))
    for _ in range(20):
        stemmer = Stemmer("english")
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(stemmer.stem, WORDS * 8))
        assert found == [wanted[word] for word in WORDS * 8]
