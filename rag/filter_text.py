"""Filters as people write them: `type = pdf and path ~ "handbook/*" and not author = "Anna"`.

    filter     = part { "or" part }             part = condition { "and" condition }
    condition  = "not" condition | "(" filter ")" | "exists" name | "true" | "false"
               | name ("=" | "!=" | "<" | "<=" | ">" | ">=" | "~") value
               | name ["not"] "in" "(" [ value { "," value } ] ")"

`docs/retrieval.md` says what names and values mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from rag.documents import AttributeValue
from rag.errors import InvalidInputError
from rag.filter_names import SHORT, Names
from rag.filter_tokens import RESERVED, Token, tokens_of, value_of, wrong
from rag.filters import And, Eq, Exists, Filter, In, Not, Or, Range

MAX_DEPTH: Final = 20  # as the API has it, and below what the vector stores take
MAX_NODES: Final = 1000

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_LARGEST = 1.7976931348623157e308


def parse_filter(text: str, roots: Sequence[str] = ()) -> Filter:
    """The filter that a text stands for.

    Args:
        text: as in the module's docstring.
        roots: absolute paths of the folders that the store was made of. A relative path in the text is looked up below
            each, and may repeat their last names.

    Raises:
        InvalidInputError: it is none; the message says at which character, what was expected, and what to write.
    """
    found = _Parser(text, roots).whole()
    if _depth(found) > MAX_DEPTH:
        raise InvalidInputError(f"The filter is nested more than {MAX_DEPTH} deep: flatten it.")
    return found


class _Parser:
    """Reads one text from its left to its right, one token ahead."""

    def __init__(self, text: str, roots: Sequence[str]) -> None:
        self._tokens = tokens_of(text)
        self._place = 0
        self._nodes = 0
        self._names = Names(roots)

    def whole(self) -> Filter:
        found = self._either(MAX_DEPTH)
        if self._next.kind != "end":
            raise wrong(self._next, "expected and, or, or the end of the filter; text with spaces goes in quotes")
        return found

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _take(self) -> Token:
        token = self._next
        self._place += token.kind != "end"
        return token

    def _either(self, depth: int) -> Filter:
        return self._joined("or", depth, lambda: self._joined("and", depth, lambda: self._condition(depth), And), Or)

    def _joined(self, word: str, depth: int, read: Callable[[], Filter], kind: type[And] | type[Or]) -> Filter:
        if depth == 0:
            raise wrong(self._next, f"parentheses and nots are nested more than {MAX_DEPTH} deep; flatten it")
        parts = [read()]
        while self._next.is_keyword(word):
            self._take()
            parts.append(read())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _condition(self, depth: int) -> Filter:
        self._count(1)
        if depth == 0:
            raise wrong(self._next, f"parentheses and nots are nested more than {MAX_DEPTH} deep; flatten it")
        token = self._take()
        if token.is_keyword("not"):
            return Not(self._condition(depth - 1))
        if token.is_sign("("):
            found = self._either(depth - 1)
            self._expect(")")
            return found
        if token.is_keyword("true", "false"):
            return And(()) if token.is_keyword("true") else Or(())
        if token.is_keyword("exists"):
            return Exists(self._names.key(self._take()))
        return self._comparison(token)

    def _comparison(self, name: Token) -> Filter:
        self._names.key(name)
        sign = self._take()
        if sign.is_keyword("not") and self._next.is_keyword("in"):
            self._take()
            return Not(self._one_of(name))
        if sign.is_keyword("in"):
            return self._one_of(name)
        if not sign.is_sign("=", "!=", "<", "<=", ">", ">=", "~"):
            raise wrong(sign, "expected one of = != < <= > >= ~ in behind the name")
        return self._names.compare(name, sign, self._take())

    def _one_of(self, name: Token) -> Filter:
        self._expect("(")
        values: list[Token] = []
        while not self._next.is_sign(")"):
            if values:
                self._expect(",")
            self._count(1)
            value_of(self._next)
            values.append(self._take())
        self._expect(")")
        return self._names.one_of(name, values)

    def _expect(self, sign: str) -> None:
        token = self._take()
        if not token.is_sign(sign):
            raise wrong(token, f"expected {sign}")

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise InvalidInputError(
                f"The filter has more than {MAX_NODES} comparisons and values: write a shorter one."
            )


def filter_text(where: Filter) -> str:  # noqa: PLR0911 (one for each kind)
    """A text that `parse_filter` reads as this filter, but for its form: it lets through the same."""
    match where:
        case Eq(key, value):
            return f"{_name(key)} = {_value(value)}"
        case In(key, values):
            return f"{_name(key)} in ({', '.join(map(_value, values))})"
        case Range(key, low, high):
            return _range(_name(key), low, high)
        case Exists(key):
            return f"exists {_name(key)}"
        case Not(inner):
            return f"not {_enclosed(inner)}"
        case And(parts):
            return " and ".join(map(_enclosed, parts)) or "true"
        case Or(parts):
            return " or ".join(map(_enclosed, parts)) or "false"


def _enclosed(where: Filter) -> str:
    text = filter_text(where)
    is_joined = isinstance(where, (And, Or)) and where.conditions
    return f"({text})" if is_joined or (isinstance(where, Range) and " and " in text) else text


def _range(name: str, low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{name} >= {_bound(low)} and {name} <= {_bound(high)}"
    return f"{name} <= {_bound(high)}" if high is not None else f"{name} >= {_bound(-_LARGEST if low is None else low)}"


def _bound(bound: float) -> str:
    return repr(min(max(float(bound), -_LARGEST), _LARGEST))


def _name(key: str) -> str:
    is_plain = _PLAIN_NAME.fullmatch(key) and key.lower() not in RESERVED and key not in SHORT
    return key if is_plain else _value(key)


def _value(value: AttributeValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)


def _depth(where: Filter) -> int:
    if isinstance(where, Not):
        return 1 + _depth(where.condition)
    if isinstance(where, (And, Or)):
        return 1 + max(map(_depth, where.conditions), default=0)
    return 1
