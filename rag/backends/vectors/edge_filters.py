"""Conditions as the Edge engine's filters."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from rag.backends.vectors.conditions import MAX_RANGES, enclose


def compile_filter(condition: list[Any]) -> Any:  # noqa: PLR0911 (one for each kind)
    """Compile a condition, as it comes off the wire.

    A branch that is not known raises: a filter that fails must not fail open. Numbers are indexed as floats, for
    ranges; beside an equality, which that index cannot answer and which is exact beyond 2**53, stands its range.
    """
    match condition:
        case ["match", path, int(value)]:
            equal = edge.FieldCondition(path, match=edge.MatchValue(value))
            return edge.Filter(must=[_span(path, *enclose([value])), equal])
        case ["match", path, value]:
            return edge.Filter(must=[edge.FieldCondition(path, match=edge.MatchValue(value))])
        case ["any", path, [int(), *_] as values]:
            equal = edge.FieldCondition(path, match=edge.MatchAny(values))
            if len(values) > MAX_RANGES:
                return edge.Filter(must=[_span(path, *enclose(values)), equal])
            return edge.Filter(must=[equal], should=[_span(path, *enclose([each])) for each in values])
        case ["any", path, values]:
            return edge.Filter(must=[edge.FieldCondition(path, match=edge.MatchAny(values))])
        case ["ids", [_, *_] as ids]:
            return edge.Filter(must=[edge.HasIdCondition(set(ids))])
        case ["range", path, low, high]:
            return edge.Filter(must=[_span(path, low, high)])
        case ["exists", path]:
            return edge.Filter(must_not=[edge.IsEmptyCondition(path)])
        case ["all", [_, *_] as parts]:
            return edge.Filter(must=[compile_filter(part) for part in parts])
        case ["some", [_, *_] as parts]:
            return edge.Filter(should=[compile_filter(part) for part in parts])
        case ["not", part]:
            return edge.Filter(must_not=[compile_filter(part)])
    raise ValueError(f"no condition: {condition!r}")


def _span(path: str, low: float | None, high: float | None) -> Any:
    return edge.FieldCondition(path, range=edge.RangeFloat(gte=low, lte=high))
