"""Results to files and back, exactly: what compare, gate and report read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from evals.records import Comparison, EvalResult, SystemResult
from rag.errors import InvalidInputError

FORMAT = "quoth-eval-1"


def to_json(result: EvalResult, *, with_run: bool = True) -> dict[str, Any]:
    """A result as JSON types.

    Args:
        result: what was measured.
        with_run: whether what was found goes with it; it is most of a file.
    """
    found: dict[str, Any] = {"format": FORMAT, **asdict(result)}
    if not with_run:
        for system in found["systems"]:
            del system["run"]
    return found


def system_to_json(system: SystemResult) -> dict[str, Any]:
    """One system's part as JSON types, what it found included."""
    return asdict(system)


def system_from_json(found: Mapping[str, Any]) -> SystemResult:
    """The inverse of `system_to_json`. Raises KeyError, TypeError or ValueError where it is no such object."""
    intervals = {metric: (float(low), float(high)) for metric, (low, high) in found["intervals"].items()}
    return SystemResult(**{**found, "intervals": intervals})


def from_json(found: Mapping[str, Any]) -> EvalResult:
    """The inverse of `to_json`. Raises InvalidInputError where it is no such object."""
    if found.get("format") != FORMAT:
        raise InvalidInputError(f"This is no result of `quoth eval`: its format is {found.get('format')!r}.")
    try:
        systems = tuple(system_from_json(each) for each in found["systems"])
        comparisons = tuple(_comparison(each) for each in found["comparisons"])
        plain = {field.name: found[field.name] for field in fields(EvalResult)}
        return EvalResult(**{**plain, "systems": systems, "comparisons": comparisons})
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"This result of `quoth eval` is not whole: {error}. Run it again.") from error


def write_result(result: EvalResult, path: Path, *, with_run: bool = False) -> None:
    """Write a result as one JSON object; without what was found, unless it is wanted."""
    text = json.dumps(to_json(result, with_run=with_run), ensure_ascii=False)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"The result cannot be written to {path}: {error.strerror}.") from error


def read_result(path: Path) -> EvalResult:
    """The result that a file holds. Raises InvalidInputError, which names the file."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidInputError(f"{path} holds no JSON object: {error}.") from error
    if not isinstance(found, dict):
        raise InvalidInputError(f"{path} holds no JSON object.")
    try:
        return from_json(found)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error


def _comparison(found: Mapping[str, Any]) -> Comparison:
    low, high = found["interval"]
    return Comparison(**{**found, "interval": (low, high)})
