"""Filters in the plain form that every backend compiles: the one place where a store's walls are put up.

A condition is a tree of tuples, fit for the wire, in which nothing is left to interpret:

    ("match", path, value)      the value, a string or an integer
    ("any", path, values)       one of the values, all strings or all integers, at least one
    ("ids", chunk_ids)          the point is one of these, at least one
    ("range", path, low, high)  a number between the bounds, both included; None leaves a side open
    ("exists", path)
    ("all", conditions)         at least one condition, as in "some": an empty list of conditions means "everything"
    ("some", conditions)        to the engines, wherever it stands, so that none is ever sent
    ("not", condition)

Booleans are 0 and 1 (Edge's binding turns them to integers in filters only, and then `not` matches everything), and
whole floats are integers, so that numbers compare by value in every backend: 1, 1.0 and True are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from rag.documents import AttributeValue
from rag.errors import InvalidInputError
from rag.filters import And, Eq, Exists, Filter, In, Not, Or, Range

Condition = tuple[Any, ...]

STORE = "store"
DOCUMENT = "document"
GENERATION = "generation"
GROUPS = "groups"
ATTRIBUTES = "attributes"

# gRPC refuses messages nested deeper than 100, and a level takes two. What the API lets through is 20 deep; one level
# more stands for its `ne` and `nin`, and the others are there for what is put around it.
MAX_DEPTH = 24
MAX_INTEGER = 2**63
MAX_EXACT = 2**53
MAX_RANGES = 32  # of one list of numbers; longer ones are enclosed in one

CHUNK = "chunk"  # not in any payload: a point's own id

_RECORD_KEYS = {"document_id": DOCUMENT, "generation": GENERATION, "chunk_id": CHUNK}


def scope(store_id: str, where: Filter | None, groups: frozenset[str] | None = None) -> Condition | None:
    """The condition of a query in one store: its wall, that of what the caller may read, and inside both its filter.

    Args:
        groups: of the caller; None where it may read everything.

    Returns:
        None when nothing can match, whatever is stored.

    Raises:
        InvalidInputError: a key, value or bound that cannot be stored, or a filter nested too deeply.
    """
    wall = ("match", STORE, encode_text(store_id, "The store's id"))
    inner = True if where is None else _plain(where, MAX_DEPTH)
    if inner is False:
        return None
    parts = [wall, *([] if groups is None else [_readable_by(groups)]), *([] if inner is True else [inner])]
    return wall if len(parts) == 1 else ("all", tuple(parts))


def words_of(store_id: str, together: Sequence[str]) -> Condition:
    """The condition of the points among which a word is rare or not: those of the stores that are searched together.

    Raises:
        InvalidInputError: an id that cannot be stored.
    """
    ids = tuple(sorted(encode_text(each, "The store's id") for each in {store_id, *together}))
    return ("match", STORE, ids[0]) if len(ids) == 1 else ("any", STORE, ids)


def _readable_by(groups: frozenset[str]) -> Condition:
    free = ("not", ("exists", GROUPS))
    if not groups:
        return free
    return ("some", (free, ("any", GROUPS, tuple(sorted(encode_text(group, "A group") for group in groups)))))


def path_of(key: str) -> str:
    """The payload path of a filter's key: `document_id`, `generation` and `chunk_id` are the record's own.

    Raises:
        InvalidInputError: the key is empty, or holds what the engines' paths cannot express.
    """
    if key in _RECORD_KEYS:
        return _RECORD_KEYS[key]
    return f'{ATTRIBUTES}."{check_key(key)}"'


def check_key(key: str) -> str:
    """The attribute key itself, when the engines can address it.

    Raises:
        InvalidInputError: it is empty, holds a double quote or a backslash, or is not valid Unicode.
    """
    if not key or '"' in key or "\\" in key:
        raise InvalidInputError(f"An attribute cannot be named {key!r}: leave out double quotes and backslashes.")
    return encode_text(key, "An attribute's name")


def encode_text(text: str, what: str) -> str:
    """The text itself, when it has a UTF-8 form.

    Raises:
        InvalidInputError: it holds half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"{what} {text!r} is not valid Unicode: remove the lone surrogates.") from None
    return text


def encode_value(key: str, value: AttributeValue) -> str | int | float:
    """The form in which a value is stored and compared.

    Raises:
        InvalidInputError: it is no string, number or boolean, is not finite, or needs more than 64 bits.
    """
    if isinstance(value, str):
        return encode_text(value, f"The value of attribute {key!r},")
    if not isinstance(value, (bool, int, float)):
        raise InvalidInputError(f"Attribute {key!r} is {type(value).__name__}: use a string, a number or a boolean.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInputError(f"Attribute {key!r} is {value}: use a finite number.")
    number = int(value) if value == int(value) else value
    if isinstance(number, int) and not -MAX_INTEGER <= number < MAX_INTEGER:
        if isinstance(value, float):
            return value  # beyond 2**53 every float is whole, and these stay comparable as floats
        raise InvalidInputError(f"Attribute {key!r} is {value}, which needs more than 64 bits: store it as text.")
    return number


def _plain(where: Filter, depth: int) -> Condition | bool:  # noqa: PLR0911 (one for each kind)
    if depth == 0:
        raise InvalidInputError(f"The filter is nested more than {MAX_DEPTH} levels deep: flatten it.")
    match where:
        case Eq(key, value):
            return _equal(path_of(key), encode_value(key, value))
        case In(key, values):
            return _one_of(path_of(key), [encode_value(key, value) for value in values])
        case Range("chunk_id") | Exists("chunk_id"):
            raise InvalidInputError("A chunk's id can be compared with Eq and In only.")
        case Range(key, minimum, maximum):
            return ("range", path_of(key), _bound(key, minimum), _bound(key, maximum))
        case Exists(key):
            return ("exists", path_of(key))
        case And(conditions):
            return _join("all", (_plain(each, depth - 1) for each in conditions), absorbing=False)
        case Or(conditions):
            return _join("some", (_plain(each, depth - 1) for each in conditions), absorbing=True)
        case Not(condition):
            inner = _plain(condition, depth - 1)
            return not inner if isinstance(inner, bool) else ("not", inner)
    raise InvalidInputError(f"{type(where).__name__} is no filter: use those of rag.filters.")


def _equal(path: str, value: str | int | float) -> Condition:
    if path == CHUNK:
        return ("ids", (str(value),))
    return ("range", path, value, value) if isinstance(value, float) else ("match", path, value)


def _one_of(path: str, values: Iterable[str | int | float]) -> Condition | bool:
    """The engines take lists of one type only, and none of floats."""
    chosen = list(dict.fromkeys(values))
    if path == CHUNK:
        return ("ids", tuple(map(str, chosen))) if chosen else False
    strings = tuple(value for value in chosen if isinstance(value, str))
    integers = tuple(value for value in chosen if isinstance(value, int))
    parts: list[Condition] = [("any", path, group) for group in (strings, integers) if group]
    parts += [_equal(path, value) for value in chosen if isinstance(value, float)]
    return _join("some", parts, absorbing=True)


def _join(kind: Literal["all", "some"], parts: Iterable[Condition | bool], *, absorbing: bool) -> Condition | bool:
    """Fold constants away, so that no engine is ever asked what an empty list means."""
    kept: list[Condition] = []
    for part in parts:
        if part is absorbing:
            return absorbing
        if not isinstance(part, bool):
            kept.append(part)
    if not kept:
        return not absorbing
    return kept[0] if len(kept) == 1 else (kind, tuple(kept))


def _bound(key: str, bound: float | None) -> float | None:
    if bound is None:
        return None
    if isinstance(bound, str) or math.isnan(bound):
        raise InvalidInputError(f"A bound of {key!r} is {bound!r}: use a number, or leave it out.")
    limit = 1.7976931348623157e308  # JSON, which the REST interface speaks, has no infinity
    return min(max(float(bound), -limit), limit)


def enclose(values: Iterable[int]) -> tuple[float, float]:
    """Bounds that no rounding to a float puts these integers outside of; exact up to 2**53."""
    ends = sorted(values)
    low, high = float(ends[0]), float(ends[-1])
    low = low if abs(low) < MAX_EXACT else math.nextafter(low, -math.inf)
    return low, high if abs(high) < MAX_EXACT else math.nextafter(high, math.inf)


def matches(condition: Condition, values: Callable[[str], Any]) -> bool:  # noqa: PLR0911
    """Judge one point.

    Args:
        condition: in the plain form.
        values: what the point holds at a path: a string, a number, or a list of strings; None where it holds nothing.
    """
    match condition:
        case ["match", path, value]:
            held = values(path)
            return value in held if isinstance(held, list) else bool(held == value)
        case ["any", path, choices]:
            held = values(path)
            return any(each in choices for each in held) if isinstance(held, list) else held in choices
        case ["ids", choices]:
            return values(CHUNK) in choices
        case ["range", path, low, high]:
            number = values(path)
            if number is None or isinstance(number, (str, list)):
                return False
            return (low is None or number >= low) and (high is None or number <= high)
        case ["exists", path]:
            return values(path) is not None
        case ["all", parts]:
            return all(matches(part, values) for part in parts)
        case ["some", parts]:
            return any(matches(part, values) for part in parts)
        case ["not", part]:
            return not matches(part, values)
    raise ValueError(f"no condition: {condition!r}")
