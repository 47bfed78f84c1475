"""Conditions as the filters of a Qdrant server."""

from __future__ import annotations

from qdrant_client import models

from rag.backends.vectors.conditions import MAX_RANGES, Condition, enclose

LOWEST = -1.7976931348623157e308


def compile_filter(condition: Condition) -> models.Filter:  # noqa: PLR0911 (one for each kind)
    """Compile a condition.

    A branch that is not known raises: a filter that fails must not fail open. Numbers are indexed as floats, for
    ranges; beside an equality, which that index cannot answer and which is exact beyond 2**53, stands its range.
    """
    match condition:
        case ["match", path, int(value)]:
            equal = models.FieldCondition(key=path, match=models.MatchValue(value=value))
            return models.Filter(must=[_span(path, *enclose([value])), equal])
        case ["match", path, value]:
            return models.Filter(must=[models.FieldCondition(key=path, match=models.MatchValue(value=value))])
        case ["any", path, [int(), *_] as values]:
            equal = models.FieldCondition(key=path, match=models.MatchAny(any=list(values)))
            if len(values) > MAX_RANGES:
                return models.Filter(must=[_span(path, *enclose(values)), equal])
            return models.Filter(must=[equal], should=[_span(path, *enclose([each])) for each in values])
        case ["any", path, values]:
            return models.Filter(must=[models.FieldCondition(key=path, match=models.MatchAny(any=list(values)))])
        case ["ids", [_, *_] as ids]:
            return models.Filter(must=[models.HasIdCondition(has_id=list(ids))])
        case ["range", path, None, None]:
            return models.Filter(must=[_span(path, LOWEST, None)])
        case ["range", path, low, high]:
            return models.Filter(must=[_span(path, low, high)])
        case ["exists", path]:
            return models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=path))])
        case ["all", [_, *_] as parts]:
            return models.Filter(must=[compile_filter(part) for part in parts])
        case ["some", [_, *_] as parts]:
            return models.Filter(should=[compile_filter(part) for part in parts])
        case ["not", part]:
            return models.Filter(must_not=[compile_filter(part)])
    raise ValueError(f"no condition: {condition!r}")


def _span(path: str, low: float | None, high: float | None) -> models.FieldCondition:
    return models.FieldCondition(key=path, range=models.Range(gte=low, lte=high))
