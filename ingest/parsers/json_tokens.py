"""The tokens of a JSON text, one after the other: no recursion, no number is computed, no repeated key is dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag.errors import ParseError

MAX_DEPTH = 1_000

_TOKEN = re.compile(
    r'[ \t\r\n]*+(?:(?P<string>"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+")'
    r"|(?P<mark>[{}\[\],:])"
    r"|(?P<scalar>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|true|false|null|NaN|-?Infinity)"
    r"|(?P<end>\Z))"
)
_SPACE = re.compile(r"[ \t\r\n]*")
_VALUES = frozenset({"string", "scalar", "{", "["})
_ALLOWED = {
    "value": _VALUES,
    "first element": _VALUES | {"]"},
    "key": frozenset({"string"}),
    "first key": frozenset({"string", "}"}),
    "colon": frozenset({":"}),
    "behind element": frozenset({",", "]"}),
    "behind member": frozenset({",", "}"}),
    "behind all": frozenset({"end"}),
}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})(?:\\u([dD][c-fC-F][0-9a-fA-F]{2}))?|.)", re.DOTALL)


def tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """The kind of each token and where it stands: `text[start:end]`.

    Kinds are `key`, `string`, `scalar` (numbers, true, false, null, and the NaN and Infinity that many programs
    write) and the six marks themselves.

    Raises:
        ParseError: `corrupt` with line and column, `too_deep`.
    """
    stack: list[str] = []
    state = "value"
    at = 0
    while True:
        found = _TOKEN.match(text, at)
        kind = found.lastgroup if found else None
        if found is None or kind is None:
            raise _malformed(text, at)
        start = found.start(kind)
        if kind == "mark":
            kind = text[start]
        if kind not in _ALLOWED[state]:
            raise _malformed(text, at)
        at = found.end()
        if kind == "end":
            return
        yield ("key" if state in ("key", "first key") and kind == "string" else kind), start, at
        state = _next_state(state, kind, stack)


def _next_state(state: str, kind: str, stack: list[str]) -> str:
    if kind in ("{", "["):
        stack.append(kind)
        if len(stack) > MAX_DEPTH:
            raise ParseError("too_deep", f"Values are nested more than {MAX_DEPTH:,} deep. Flatten the file.")
        return "first key" if kind == "{" else "first element"
    if kind == ",":
        return "key" if stack[-1] == "{" else "value"
    if kind == ":":
        return "value"
    if kind in ("}", "]"):
        stack.pop()
    elif state in ("key", "first key"):
        return "colon"
    if not stack:
        return "behind all"
    return "behind member" if stack[-1] == "{" else "behind element"


def _malformed(text: str, at: int) -> ParseError:
    space = _SPACE.match(text, at)
    at = space.end() if space else at
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return ParseError("corrupt", f"This is no JSON from line {line}, column {column} on. Write the file anew.")


def readable(text: str) -> str:
    r"""A JSON text with `\u00e9` as the character that it stands for, where that shows and needs no escape."""
    return _ESCAPE.sub(_unescaped, text) if "\\u" in text else text


def _unescaped(found: re.Match[str]) -> str:
    if found.group(1) is None:
        return found.group()
    code = int(found.group(1), 16)
    low = found.group(2)
    if low and 0xD800 <= code < 0xDC00:
        code = 0x10000 + (code - 0xD800) * 0x400 + int(low, 16) - 0xDC00
        low = None
    character = chr(code)
    if not character.isprintable() or character in '"\\':
        return found.group()
    return character + (f"\\u{low}" if low else "")
