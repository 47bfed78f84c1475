"""The dates that files tell of themselves, in the many ways in which they are written."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

_ISO = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})"
    r"(?:[T ]+(?P<hour>\d{2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?)?"
    r"\s*(?:Z|UTC|(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?)?",
    re.IGNORECASE,
)
_PDF = re.compile(
    r"D:(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})"
    r"(?:(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?)?"
    r"(?:Z|(?P<sign>[+-])(?P<hours>\d{2})'?(?P<minutes>\d{2})?)?(?:\d{2})?'?(?:\d{2})?'?"
)
_MAX_CHARACTERS = 100


def told_date(*candidates: object) -> dict[str, str]:
    """The attribute `date` of the first candidate that is one, in ISO 8601 and UTC; a day alone stays a day.

    Args:
        candidates: ISO 8601, dates of PDF (`D:20240131093000+01'00'`) or of mail (RFC 5322), or anything else.
    """
    for each in candidates:
        found = _read(each.strip()) if isinstance(each, str) and len(each) <= _MAX_CHARACTERS else None
        if found:
            return {"date": found}
    return {}


def _read(text: str) -> str | None:
    parts = _ISO.fullmatch(text) or _PDF.fullmatch(text)
    try:
        return _written(parts) if parts else _of_mail(text)
    except (ValueError, OverflowError):  # no such day, or one before the first year
        return None


def _written(parts: re.Match[str]) -> str:
    numbers = {name: int(value) for name, value in parts.groupdict().items() if value and name != "sign"}
    day = datetime(numbers["year"], numbers["month"], numbers["day"], tzinfo=UTC)
    if "hour" not in numbers:
        return day.date().isoformat()
    offset = timedelta(hours=numbers.get("hours", 0), minutes=numbers.get("minutes", 0))
    zone = timezone(-offset if parts["sign"] == "-" else offset)
    return _in_utc(
        day.replace(hour=numbers["hour"], minute=numbers["minute"], second=numbers.get("second", 0), tzinfo=zone)
    )


def _of_mail(text: str) -> str | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, IndexError):
        return None
    return _in_utc(found if found.tzinfo else found.replace(tzinfo=UTC))


def _in_utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)
