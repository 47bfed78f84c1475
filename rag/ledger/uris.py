"""Conditions on URIs: what lies at and below some of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import and_, false, or_


def is_below(uri: str, root: str) -> bool:
    """Whether a URI lies below another one."""
    return uri.startswith(f"{root.rstrip('/')}/")


def below(column: Any, roots: Iterable[str]) -> Any:
    """The column is one of `roots`, or a path below it."""
    # A range instead of LIKE: URIs hold % and _, and a range uses the index. "0" is the character after "/".
    trimmed = [root.rstrip("/") for root in roots]
    return or_(false(), *(or_(column == root, and_(column >= f"{root}/", column < f"{root}0")) for root in trimmed))
