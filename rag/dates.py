"""Days and instants as people write them, in seconds since 1970; what names no time zone is UTC."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from rag.documents import AttributeValue

DAY_SECONDS = 86_400.0

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(
    _DAY.pattern + r"[Tt][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)


class Moment(NamedTuple):
    """A stretch of time, both ends included: all of a day, or one instant twice."""

    first: float
    last: float


def moment(text: str) -> Moment | None:
    """What an ISO 8601 date names: `2024-01-31`, or `2024-01-31T09:30` with seconds, `Z`, an offset; else None."""
    if not _INSTANT.fullmatch(text) and not _DAY.fullmatch(text):
        return None
    try:
        begin = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    begin = begin if begin.tzinfo else begin.replace(tzinfo=UTC)
    seconds = (begin - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)
    is_day = _DAY.fullmatch(text) is not None
    return Moment(seconds, math.nextafter(seconds + DAY_SECONDS, -math.inf) if is_day else seconds)


def seconds_of(value: AttributeValue | None) -> float | None:
    """A date that an attribute tells: ISO 8601 text, whose day begins then, or seconds since 1970; None for others."""
    if isinstance(value, str):
        found = moment(value.strip())
        return found.first if found else None
    if value is None or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)
