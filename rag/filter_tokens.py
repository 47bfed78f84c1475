"""The words and signs of a filter's text, and what its values stand for."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Literal

from rag.attributes import is_text
from rag.dates import Moment, moment
from rag.documents import AttributeValue
from rag.errors import InvalidInputError

MAX_CHARACTERS: Final = 10_000
MAX_VALUE_CHARACTERS: Final = 4096
EXAMPLE: Final = 'type = pdf and date >= 2024-01-01 and not author = "Anna"'
RESERVED: Final = frozenset({"and", "or", "not", "in", "exists", "true", "false"})

_SHOWN = 40
_PIECE = re.compile(r"(?P<sign>!=|<=|>=|[=<>~(),])|(?P<mark>[\"'])|(?P<word>[^\s()=!<>~,\"']+)")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LIKE_A_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]")
_INTEGERS = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a filter's text.

    Attributes:
        kind: `text` was quoted.
        value: without its quotes.
        at: of its first character, counted from 1.
    """

    kind: Literal["word", "text", "sign", "end"]
    value: str
    at: int

    def is_keyword(self, *names: str) -> bool:
        """Whether it is one of these words of the language, in whatever case."""
        return self.kind == "word" and self.value.lower() in names

    def is_sign(self, *signs: str) -> bool:
        """Whether it is one of these signs."""
        return self.kind == "sign" and self.value in signs


def wrong(token: Token, expected: str) -> InvalidInputError:
    """The error of a filter that cannot be read at a token."""
    shown = token.value if len(token.value) <= _SHOWN else f"{token.value[:_SHOWN]}..."
    what = "at its end" if token.kind == "end" else f"at character {token.at}, {shown!r}"
    return InvalidInputError(f"The filter cannot be read {what}: {expected}. Write it like this: {EXAMPLE}")


def tokens_of(text: str) -> list[Token]:
    """The pieces of a filter's text; the last is the end.

    Raises:
        InvalidInputError: it is too long or empty, or a quote is not closed.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidInputError(f"The filter has {len(text)} characters; {MAX_CHARACTERS} is the most. Write less.")
    found: list[Token] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        piece = _PIECE.match(text, at)
        if piece is None:
            raise wrong(Token("sign", text[at], at + 1), "put text with such characters in quotes; 'not equal' is !=")
        if piece["mark"]:
            value, end = _quoted(text, at)
            found.append(Token("text", value, at + 1))
        else:
            found.append(Token("sign" if piece["sign"] else "word", piece.group(), at + 1))
            end = piece.end()
        at = end
    if not found:
        raise InvalidInputError(f"The filter is empty: leave it out, or write it like this: {EXAMPLE}")
    return [*found, Token("end", "", len(text) + 1)]


def _quoted(text: str, start: int) -> tuple[str, int]:
    """The text in the quotes that open at `start`, and where it goes on behind them."""
    mark, at, value = text[start], start + 1, []
    while at < len(text) and text[at] != mark:
        if text[at] == "\\":
            at += 1
            if text[at : at + 1] not in ("\\", '"', "'"):
                raise wrong(
                    Token("sign", text[at - 1 : at + 1], at), "a backslash stands before a quote or another one"
                )
        value.append(text[at])
        at += 1
    if at >= len(text):
        raise wrong(Token("text", text[start:], start + 1), f"the quote is not closed; put {mark} behind it")
    return "".join(value), at + 1


def key_of(token: Token) -> str:
    """The name of an attribute.

    Raises:
        InvalidInputError: the token is none.
    """
    value = token.value
    if token.kind not in ("word", "text") or (token.kind == "word" and value.lower() in RESERVED):
        raise wrong(token, "expected the name of an attribute, type, path, filename, date or document")
    if token.kind == "word" and (_NUMBER.fullmatch(value) or _LIKE_A_DATE.match(value)):
        raise wrong(token, "expected a name first and its value behind it; put a name that is a number in quotes")
    if not 0 < len(value) <= 128 or value == "chunk_id" or '"' in value or "\\" in value or not is_text(value):
        raise wrong(token, "no attribute has such a name: it has 1 to 128 characters, no double quote and no backslash")
    return value


def value_of(token: Token) -> AttributeValue | Moment:
    """What a value stands for: quoted it is text; else a number, a boolean, a date, and text where it is none of them.

    Raises:
        InvalidInputError: it is no value, a date that does not exist, or a number of more than 64 bits.
    """
    value = token.value
    if token.kind not in ("word", "text") or token.is_keyword("and", "or", "not", "in", "exists"):
        raise wrong(token, "expected a value: a word, text in quotes, a number, true, false, or a date")
    if len(value) > MAX_VALUE_CHARACTERS or not is_text(value):
        raise wrong(token, f"a value must be valid Unicode of at most {MAX_VALUE_CHARACTERS} characters")
    if token.kind == "text":
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if _NUMBER.fullmatch(value):
        return _number(token)
    found = moment(value)
    if found is None and _LIKE_A_DATE.match(value):
        raise wrong(token, "no such date: write 2024-01-31, 2024-01-31T09:30 or 2024-01-31T09:30:00+02:00")
    return value if found is None else found


def _number(token: Token) -> int | float:
    number = int(token.value) if _WHOLE.fullmatch(token.value) else float(token.value)
    if not math.isfinite(number) or (isinstance(number, int) and number not in _INTEGERS):
        raise wrong(token, "a number of more than 64 bits, which no attribute has")
    return number
