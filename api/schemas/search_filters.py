"""OpenAI's filters over attributes: what a body says, as the engine's filter language.

A comparison is `{"type": "eq", "key": "year", "value": 2024}`, with `eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `in` or
`nin`; `and` and `or` combine them: `{"type": "and", "filters": [...]}`. Numbers compare by value as 64-bit floats, true
and false are 1 and 0, and dates are numbers, seconds since 1970 for example. What lacks an attribute is found by `ne`
and `nin` alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from rag.attributes import is_text
from rag.documents import AttributeValue
from rag.errors import InvalidInputError
from rag.filters import And, Eq, Filter, In, Not, Or, beyond

MAX_DEPTH: Final = 20
MAX_NODES: Final = 1000  # comparisons, combinations and listed values together
MAX_KEY_CHARACTERS: Final = 128
MAX_VALUE_CHARACTERS: Final = 4096
_INTEGERS = range(-(2**63), 2**63)

_ONE: Final = ("eq", "ne")
_ORDER: Final = ("gt", "gte", "lt", "lte")
_LIST: Final = ("in", "nin")
_BOTH: Final = ("and", "or")
_ALL: Final = ", ".join((*_ONE, *_ORDER, *_LIST, *_BOTH))


def to_filter(body: object) -> Filter:
    """The filter that a request's `filters` stands for.

    Args:
        body: JSON as it came, not validated in any way.

    Raises:
        InvalidInputError: it is no filter, too deep or too large; the message names the place.
    """
    return _Reader().read(body, "filters", MAX_DEPTH)


class _Reader:
    """Reads one filter, and counts what it is made of."""

    def __init__(self) -> None:
        self._nodes = 0

    def read(self, body: object, where: str, depth: int) -> Filter:
        if depth == 0:
            raise InvalidInputError(f"The filter is nested more than {MAX_DEPTH} deep: flatten it.")
        self._count(1)
        if not isinstance(body, Mapping):
            raise InvalidInputError(f"{where} must be an object with a type, one of {_ALL}.")
        kind = body.get("type")
        if kind in _BOTH:
            _check_fields(body, {"type", "filters"}, where)
            return self._combined(kind, body["filters"], where, depth)
        if kind in (*_ONE, *_ORDER, *_LIST):
            _check_fields(body, {"type", "key", "value"}, where)
            return self._comparison(kind, _key(body["key"], where), body["value"], where)
        raise InvalidInputError(f"{where}.type must be one of {_ALL}.")

    def _combined(self, kind: str, parts: object, where: str, depth: int) -> Filter:
        if not isinstance(parts, Sequence) or isinstance(parts, str) or not parts:
            raise InvalidInputError(f"{where}.filters must be a list of at least one filter.")
        read = tuple(self.read(part, f"{where}.filters.{place}", depth - 1) for place, part in enumerate(parts))
        return And(read) if kind == "and" else Or(read)

    def _comparison(self, kind: str, key: str, value: object, where: str) -> Filter:
        if kind in _LIST:
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise InvalidInputError(f"{where}.value must be a list for {kind}.")
            self._count(len(value))
            found = In(key, tuple(_value(each, f"{where}.value.{place}") for place, each in enumerate(value)))
            return found if kind == "in" else Not(found)
        if kind in _ORDER:
            return beyond(kind, key, _number(value, where, kind))
        equal = Eq(key, _value(value, f"{where}.value"))
        return equal if kind == "eq" else Not(equal)

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise InvalidInputError(f"The filter has more than {MAX_NODES} comparisons and values: send a shorter one.")


def _check_fields(body: Mapping[Any, Any], known: set[str], where: str) -> None:
    missing, more = sorted(known - set(body)), sorted(str(name)[:64] for name in set(body) - known)
    if missing or more:
        wrong = (
            f"lacks {', '.join(missing)}" if missing else f"has {', '.join(map(repr, more))}, which is not supported"
        )
        raise InvalidInputError(f"{where} {wrong}: {body['type']} takes {', '.join(sorted(known))}.")


def _key(key: object, where: str) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_CHARACTERS:
        raise InvalidInputError(f"{where}.key must be a string of 1 to {MAX_KEY_CHARACTERS} characters.")
    if key == "chunk_id" or '"' in key or "\\" in key or not is_text(key):
        raise InvalidInputError(
            f"{where}.key cannot be {key!r}: no attribute is called chunk_id, or has a double quote or a backslash."
        )
    return key


def _value(value: object, where: str) -> AttributeValue:
    if isinstance(value, str):
        if len(value) > MAX_VALUE_CHARACTERS or not is_text(value):
            raise InvalidInputError(f"{where} must be valid Unicode of at most {MAX_VALUE_CHARACTERS} characters.")
        return value
    if isinstance(value, bool):
        return value
    return _number(value, where.removesuffix(".value"), None)


def _number(value: object, where: str, kind: str | None) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        wanted = f"a number for {kind}; write dates as numbers" if kind else "a string, a number or a boolean"
        raise InvalidInputError(f"{where}.value must be {wanted}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInputError(f"{where}.value must be a finite number.")
    if isinstance(value, int) and value not in _INTEGERS:
        raise InvalidInputError(f"{where}.value needs more than 64 bits: no attribute has such a number.")
    return value


def _validated(body: object) -> Filter | None:
    try:
        return None if body is None else to_filter(body)
    except InvalidInputError as error:
        raise PydanticCustomError("invalid_filter", "{why}", {"why": str(error)}) from None


_KEY_SCHEMA: Final = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9_ .-]+$"}
_NUMBER_SCHEMA: Final = {"type": "number", "minimum": -1e15, "maximum": 1e15}
_TEXT_SCHEMA: Final = {"type": "string", "maxLength": 512}


def _comparison_schema(kinds: Sequence[str], value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "required": ["type", "key", "value"], "additionalProperties": False,
        "properties": {"type": {"enum": list(kinds)}, "key": _KEY_SCHEMA, "value": value},
    }  # fmt: skip


def _combined_schema(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "required": ["type", "filters"], "additionalProperties": False,
        "properties": {
            "type": {"enum": list(_BOTH)}, "filters": {"type": "array", "minItems": 1, "maxItems": 20, "items": parts}
        },
    }  # fmt: skip


_COMPARISONS: Final = [
    _comparison_schema(_ONE, {"anyOf": [_TEXT_SCHEMA, _NUMBER_SCHEMA, {"type": "boolean"}]}),
    _comparison_schema(_ORDER, _NUMBER_SCHEMA),
    _comparison_schema(_LIST, {"type": "array", "maxItems": 40, "items": {"anyOf": [_TEXT_SCHEMA, _NUMBER_SCHEMA]}}),
]

# Two levels of what may be 20: schemas that refer to themselves do not survive every generator of clients.
FILTERS_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [*_COMPARISONS, _combined_schema({"anyOf": [*_COMPARISONS, _combined_schema({"anyOf": _COMPARISONS})]})],
    "description": "comparisons of attributes, combined by `and` and `or`, nested at most 20 deep",
    "examples": [{"type": "and", "filters": [{"type": "gte", "key": "year", "value": 2024}]}],
}

FiltersBody = Annotated[Any, PlainValidator(_validated), WithJsonSchema({"anyOf": [FILTERS_SCHEMA, {"type": "null"}]})]
