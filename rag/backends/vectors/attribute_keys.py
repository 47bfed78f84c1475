"""Which attributes have an index of their own: the first that come, since strangers name them, and Quoth's own.

An index is of text or of numbers, as the first value at its key is. What it does not hold is found as before: engines
look into the payload where an index is of another kind than the question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from rag.attributes import OWN
from rag.backends.vectors.conditions import ATTRIBUTES, path_of

Kind = Literal["text", "number"]
Kinds = dict[str, Kind]

MAX_OWN = 16
MAX_GIVEN = 48
SAMPLE_POINTS = 256  # read of a collection that was written without indexes, to learn its keys


def kinds_of(payloads: Iterable[Mapping[str, Any]]) -> Kinds:
    """The keys of all attributes in these payloads, each with the kind of its first value."""
    found: Kinds = {}
    for payload in payloads:
        for key, value in payload.get(ATTRIBUTES, {}).items():
            if key not in found and _is_filtered(key):
                found[key] = "number" if isinstance(value, (int, float)) else "text"
    return found


def to_index(kinds: Kinds, known: Iterable[str]) -> Kinds:
    """Those of the keys that get an index, beside the known ones that have theirs."""
    taken = set(known)
    chosen: Kinds = {}
    for key, kind in kinds.items():
        own = key.startswith(OWN)
        alike = sum(each.startswith(OWN) == own for each in taken)
        if key not in taken and alike < (MAX_OWN if own else MAX_GIVEN):
            chosen[key] = kind
            taken.add(key)
    return chosen


def key_of(path: str) -> str | None:
    """The attribute that an index is of, by the path as an engine spells it; None for an index of something else."""
    head, _, key = path.partition(".")
    return key.removeprefix('"').removesuffix('"') if head == ATTRIBUTES and key else None


def _is_filtered(key: str) -> bool:
    """Some names mean a field of the record's to filters, so that no question reaches an attribute of that name."""
    return key_of(path_of(key)) is not None
