"""Whole numbers as JSON knows them: 3.0 is one, and "3" and true are none."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BeforeValidator


def _whole(given: Any) -> Any:
    return int(given) if isinstance(given, float) and given.is_integer() else given


# Stands last among what annotates a strict int.
Whole: Final = BeforeValidator(_whole)
