"""Finds a sentence in a text word for word, whatever white space, emphasis or typography makes of it."""

from __future__ import annotations

from array import array
from functools import lru_cache
from typing import Final

import regex

from rag.hidden_text import INVISIBLE

# Containment puts spaces between characters of markup and takes out what is not seen; models add emphasis.
_WHERE: Final = (range(0x3200), range(0xFE00, 0x10000), range(0x1BC00, 0x1D200), range(0xE0000, 0xE1000))
_LEFT_OUT: Final = frozenset(
    regex.findall(rf"[\s*`\x00-\x1f\x7f-\x9f{INVISIBLE}]", "".join(map(chr, (at for part in _WHERE for at in part))))
)
_ALIKE: Final = str.maketrans("‘’‚‛“”„‟‐‑‒–—−", "''''\"\"\"\"------")
_LIST_MARK = regex.compile(r"\s*(?:(?:[-+*•]|\(?\d{1,3}[.)]|#{1,6}|>)\s+)+")
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}_]")


class VerbatimText:
    """A text, prepared once for all sentences that are looked for in it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._offsets = array("I", (at for at, character in enumerate(text) if character not in _LEFT_OUT))
        self._squeezed = _squeezed(text)

    def find(self, sentence: str) -> tuple[int, int] | None:
        """The span of characters where a sentence stands, itself or without its list marker; None where it does not."""
        found = self._find(sentence)
        mark = _LIST_MARK.match(sentence)
        return self._find(sentence[mark.end() :]) if found is None and mark else found

    def _find(self, sentence: str) -> tuple[int, int] | None:
        wanted = _sought(sentence)
        if not wanted:
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


def _squeezed(text: str) -> str:
    return "".join(character for character in text if character not in _LEFT_OUT).translate(_ALIKE)


@lru_cache(maxsize=8)
def _sought(sentence: str) -> str:
    """What of a sentence is compared, empty where it has no word; the same for every text it is looked for in."""
    wanted = _squeezed(sentence)
    return wanted if _WORD.search(wanted) else ""
