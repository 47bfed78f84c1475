"""Words to their stems, by Snowball's algorithms."""

from __future__ import annotations

import threading

import snowballstemmer

MAX_CACHED = 200_000
LANGUAGES = frozenset(snowballstemmer.algorithms())


class Stemmer:
    """Stems words of one language, each once; may be shared by threads."""

    def __init__(self, language: str) -> None:
        """Args: `language` as Snowball names it, for example `english`; words of another one stay as they are."""
        self._snowball = snowballstemmer.stemmer(language) if language in LANGUAGES else None
        # A Snowball stemmer keeps the word it works on in itself.
        self._lock = threading.Lock()
        self._stems: dict[str, str] = {}

    def stem(self, word: str) -> str:
        """The stem of a case-folded word."""
        if self._snowball is None:
            return word
        found = self._stems.get(word)
        if found is None:
            with self._lock:
                found = str(self._snowball.stemWord(word))
                if len(self._stems) >= MAX_CACHED:
                    self._stems.clear()
                self._stems[word] = found
        return found
