"""Finds a sentence in a text word for word, whatever white space, emphasis or typography makes of it."""

from __future__ import annotations

from array import array
from itertools import chain
from typing import Final

import regex

from rag.hidden_text import INVISIBLE

# Containment puts spaces between characters of markup and takes out what is not seen; models add emphasis.
_LEFT_OUT = regex.compile(rf"[\s*`\x00-\x1f\x7f-\x9f{INVISIBLE}]+")
_KEPT = regex.compile(rf"[^\s*`\x00-\x1f\x7f-\x9f{INVISIBLE}]+")
_ALIKE: Final = str.maketrans("‘’‚‛“”„‟‐‑‒–—−", "''''\"\"\"\"------")
_LIST_MARK = regex.compile(r"\s*(?:(?:[-+*•]|\(?\d{1,3}[.)]|#{1,6}|>)\s+)+")
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}_]")


class VerbatimText:
    """A text, prepared once for all sentences that are looked for in it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._offsets = array("I", chain.from_iterable(range(*found.span()) for found in _KEPT.finditer(text)))
        self._squeezed = _LEFT_OUT.sub("", text).translate(_ALIKE)

    def find(self, sentence: str) -> tuple[int, int] | None:
        """The span of characters where a sentence stands, itself or without its list marker; None where it does not."""
        found = self._find(sentence)
        mark = _LIST_MARK.match(sentence)
        return self._find(sentence[mark.end() :]) if found is None and mark else found

    def _find(self, sentence: str) -> tuple[int, int] | None:
        wanted = _LEFT_OUT.sub("", sentence).translate(_ALIKE)
        if not _WORD.search(wanted):
            return None
        begin = self._squeezed.find(wanted)
        while begin >= 0:
            start, end = self._offsets[begin], self._offsets[begin + len(wanted) - 1] + 1
            if not (self._cuts_word(start) or self._cuts_word(end)):
                return start, end
            begin = self._squeezed.find(wanted, begin + 1)
        return None

    def _cuts_word(self, at: int) -> bool:
        within = 0 < at < len(self._text)
        return within and bool(_WORD.match(self._text[at - 1]) and _WORD.match(self._text[at]))
