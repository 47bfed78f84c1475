"""What a sentence must have in common with the words it rests on besides most of them.

A figure with its unit, a name and whether something is denied are worth more than the share of words they make up:
"within 30 days" and "within 40 days" share three words of four.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, Literal

import regex

Agreement = Literal["agrees", "doubtful", "disagrees"]

_QUANTITY = regex.compile(
    r"(?P<sign>[$€£])?\s?(?<![\p{L}\p{N}_]|\p{N}\.)(?P<value>\d+(?:[.,:]\d+)*)"
    r"(?:[\s\u00a0-]?(?:(?:working|business|calendar|operating|consecutive|full|paid|more)\s)?"
    r"(?P<unit>%|°\s?[CF]|[$€£]|\p{L}+))?"
)
_THOUSANDS = regex.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
# The number of an item or a section is no figure.
_ORDINAL = regex.compile(r"^[ \t]*(?:[-*+•#>]+[ \t]*)?\(?\d{1,3}(?:\.\d{1,3})*[.)][ \t]", regex.MULTILINE)
_NAME = regex.compile(r"(?<=[\p{L}\p{N},;:)\"'’”]\s)\p{Lu}[\p{L}\p{N}’'&-]*")
_WORD = regex.compile(r"\p{L}+(?:['’]\p{L}+)?")
_DENIAL = regex.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot)\b|n['’]t\b", regex.IGNORECASE
)

_VALUES: Final = {
    "zero": "0", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15",
    "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20", "thirty": "30",
    "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
}  # fmt: skip
_VALUE_WORD = regex.compile(rf"\b(?:{'|'.join(_VALUES)})\b", regex.IGNORECASE)

# A unit and all the ways to write it.
_UNITS: Final = {
    spelling: names.split()[0]
    for names in (
        "second seconds sec secs s", "minute minutes min mins", "hour hours hr hrs h", "day days", "week weeks",
        "month months", "quarter quarters", "year years yr yrs", "percent % per", "euro euros eur €",
        "dollar dollars usd $", "pound pounds gbp £", "metre metres meter meters m",
        "km kilometre kilometres kilometer kilometers", "cm", "mm", "mile miles",
        "foot feet ft", "inch inches", "gram grams g", "kg kilogram kilograms",
        "mg", "tonne tonnes ton tons", "litre litres liter liters l", "ml", "byte bytes", "kb kib", "mb mib", "gb gib",
        "tb tib", "celsius °c", "fahrenheit °f", "bar", "psi", "volt volts v", "watt watts w", "kw", "kwh", "rpm",
        "people persons person", "times", "million", "billion", "thousand", "hundred",
    )
    for spelling in names.split()
}  # fmt: skip

_OPPOSITES: Final = [
    ("before", "after"), ("above", "below"), ("more", "less"), ("most", "least"), ("maximum", "minimum"),
    ("at least", "at most"), ("increase", "decrease"), ("increases", "decreases"), ("increased", "decreased"),
    ("rise", "fall"), ("allow", "forbid"), ("allowed", "forbidden"), ("allowed", "prohibited"),
    ("permitted", "prohibited"), ("required", "optional"), ("must", "may"), ("always", "never"), ("all", "none"),
    ("enable", "disable"), ("enabled", "disabled"), ("accept", "reject"), ("accepted", "rejected"), ("true", "false"),
    ("first", "last"), ("earlier", "later"), ("higher", "lower"), ("larger", "smaller"), ("include", "exclude"),
    ("includes", "excludes"), ("included", "excluded"), ("with", "without"), ("open", "closed"), ("won", "lost"),
    ("north", "south"), ("east", "west"), ("internal", "external"), ("public", "private"), ("paid", "unpaid"),
    ("start", "end"), ("started", "ended"), ("success", "failure"),
]  # fmt: skip


def agreement(sentence: str, source: str, known: Collection[str]) -> Agreement:
    """Whether a sentence says the same of figures, names and denial as its source.

    Args:
        sentence: of an answer.
        source: the words it may rest on.
        known: case-folded words that may be named although the source does not: those of its document and of the
            question.

    Returns:
        `disagrees` where a figure or its unit is another, or somebody is named of whom nothing is known; `doubtful`
        where the source denies what the sentence affirms, or the other way round, or has the opposite word.
    """
    if not _same_figures(sentence, source):
        return "disagrees"
    words = {word.casefold() for word in _WORD.findall(source)}
    names = {_bare(name) for name in _NAME.findall(sentence)} - words
    if names - {_bare(word) for word in words} - set(known):
        return "disagrees"
    if names or bool(_DENIAL.search(sentence)) != bool(_DENIAL.search(source)) or _has_opposite(sentence, source):
        return "doubtful"
    return "agrees"


def words_of(text: str) -> set[str]:
    """The case-folded words of a text, as `agreement` wants to know them."""
    return {_bare(word) for word in _WORD.findall(text)} | set(text.casefold().split())


def figures(text: str) -> set[tuple[str, str]]:
    """Every number of a text with its unit, which is empty where there is none; `1,250` is 1250, `thirty` 30."""
    digits = _VALUE_WORD.sub(lambda word: _VALUES[word.group().lower()], _ORDINAL.sub(" ", text))
    return set(_figures(digits))


def _figures(text: str) -> Iterator[tuple[str, str]]:
    for found in _QUANTITY.finditer(text):
        value = found["value"]
        value = value.replace(",", "") if _THOUSANDS.fullmatch(value) else value
        unit = found["sign"] or (found["unit"] or "").replace(" ", "")
        yield value, _UNITS.get(unit.casefold(), "")


def _same_figures(sentence: str, source: str) -> bool:
    units: dict[str, set[str]] = {}
    for value, unit in figures(source):
        units.setdefault(value, set()).add(unit)
    # Of a number that the source gives without a unit, the unit may stand elsewhere, in a table's heading for example.
    return all(
        value in units and (not unit or unit in units[value] or "" in units[value]) for value, unit in figures(sentence)
    )


def _has_opposite(sentence: str, source: str) -> bool:
    said, read = f" {' '.join(_folded(sentence))} ", f" {' '.join(_folded(source))} "
    return any(
        f" {here} " in said and f" {here} " not in read and f" {there} " in read and f" {there} " not in said
        for pair in _OPPOSITES
        for here, there in (pair, pair[::-1])
    )


def _folded(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _bare(word: str) -> str:
    """A name without its possessive."""
    return word.removesuffix("'s").removesuffix("’s").rstrip("'’").casefold()
