"""The small filter language: what may be asked of a chunk besides its nearness. Each store compiles it."""

from __future__ import annotations

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
