"""The small filter language: what may be asked of a chunk besides its nearness. Each store compiles it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rag.documents import AttributeValue


@dataclass(frozen=True, slots=True)
class Eq:
    """The attribute equals the value, or, where it holds several, one of them does."""

    key: str
    value: AttributeValue


@dataclass(frozen=True, slots=True)
class In:
    """The attribute equals one of the values. No values match nothing."""

    key: str
    values: tuple[AttributeValue, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The attribute, a number, lies between the bounds that are given; both bounds are included."""

    key: str
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The chunk has the attribute."""

    key: str


@dataclass(frozen=True, slots=True)
class And:
    """All hold. No conditions match everything."""

    conditions: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one holds. No conditions match nothing."""

    conditions: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The condition does not hold."""

    condition: Filter


Filter = Eq | In | Range | Exists | And | Or | Not


def beyond(kind: str, key: str, value: int | float) -> Filter:
    """What lies on one side of a number; the next float stands for what lies beyond one, as ranges hold their ends.

    Args:
        kind: `gt`, `gte`, `lt` or `lte`.
        value: finite, of at most 64 bits.
    """
    nearest, is_lower = float(value), kind in ("gt", "gte")
    # An integer beyond 2**53 may lie on either side of the float that is nearest to it.
    is_outside = nearest < value if is_lower else nearest > value
    if is_outside or (nearest == value and kind in ("gt", "lt")):
        nearest = math.nextafter(nearest, math.inf if is_lower else -math.inf)
    if math.isinf(nearest):
        return Or(())
    return Range(key, minimum=nearest) if is_lower else Range(key, maximum=nearest)
