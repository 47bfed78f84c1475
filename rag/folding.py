"""Words without what people leave out when they type: accents, vowel points, the dot of an i."""

from __future__ import annotations

import unicodedata

import regex

# Marks that spell a word with more care, not another word. The marks of Devanagari, Thai and others are their vowels.
_OPTIONAL = regex.compile(
    r"(?<=[\p{Latin}\p{Greek}\p{M}])[\u0300-\u036f]+"  # accents
    r"|(?<=\p{Cyrillic})[\u0300\u0301]"  # stress, but not the breve of й
    r"|[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"  # Hebrew points
    r"|[\u0610-\u061a\u0640\u064b-\u0655\u0670\u06d6-\u06ed]"  # Arabic vowels, and the stroke that stretches words
    r"|\u093c"  # the dot that Hindi sets under letters of foreign words
    r"|[\u200b-\u200d\u00ad]"  # invisible joiners and breaks
)
_LETTERS = str.maketrans(
    {"ı": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "æ": "ae", "œ": "oe", "þ": "th", "ё": "е", "ς": "σ"}
)


def fold(word: str) -> str:
    """A case-folded word as it is typed in a hurry: `información` as `informacion`, `ışık` as `isik`."""
    if word.isascii():
        return word
    bare = _OPTIONAL.sub("", unicodedata.normalize("NFD", word))
    return unicodedata.normalize("NFC", bare).translate(_LETTERS)
