"""Runs and judgements in the files of TREC, so that anyone can score them with another tool.

A run holds `query Q0 document rank score tag` on each line, judgements hold `query 0 document grade`, with white space
between. Ids with white space in them are written with `%20` and the like instead; `written_id` says how, and reading
leaves ids as they stand in the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from evals.json_lines import Line, read_lines
from evals.metrics import ranked
from evals.records import Qrels, Run
from rag.errors import InvalidInputError

Value = TypeVar("Value", int, float)


def write_run(path: Path, run: Run, tag: str) -> None:
    """Write a run, best first. Scores keep their digits; ties stand in the order in which trec_eval breaks them.

    Args:
        path: of the file; an existing one is replaced.
        run: queries without results leave no line, and trec_eval leaves those out of its mean unless told `-c`.
        tag: the name of the system.

    Raises:
        InvalidInputError: a score is not a number, an id is empty, or two ids are written alike.
    """
    tag = written_id(tag)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for query, name in _written(run).items():
            documents = _written(run[query])
            for rank, document in enumerate(ranked(run[query]), 1):
                score = float(run[query][document])
                file.write(f"{name} Q0 {documents[document]} {rank} {score!r} {tag}\n")


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """Read a run. Ranks are not looked at, as trec_eval does not.

    Raises:
        InvalidInputError: it is missing, or a line is malformed or repeats a document of a query.
    """
    run: dict[str, dict[str, float]] = {}
    for line in read_lines(path):
        query, _, document, _, score, _ = _columns(line, 6, "query Q0 document rank score tag")
        _put(run.setdefault(query, {}), document, _number(line, score), line)
    return run


def write_qrels(path: Path, qrels: Qrels) -> None:
    """Write judgements, ids as `write_run` writes them. Raises InvalidInputError as it does."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for query, name in _written(qrels).items():
            for document, written in _written(qrels[query]).items():
                file.write(f"{name} 0 {written} {qrels[query][document]}\n")


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements.

    Raises:
        InvalidInputError: it is missing, or a line is malformed or repeats a judgement.
    """
    qrels: dict[str, dict[str, int]] = {}
    for line in read_lines(path):
        query, _, document, grade = _columns(line, 4, "query 0 document grade")
        value = _number(line, grade)
        if not value.is_integer():
            line.fail(f"the grade must be a whole number; it is {grade!r}.")
        _put(qrels.setdefault(query, {}), document, int(value), line)
    return qrels


def written_id(identity: str) -> str:
    """An id as it stands in a file, white space percent-encoded. Raises InvalidInputError for an empty one."""
    if not identity:
        raise InvalidInputError("An id is empty, which a TREC file cannot hold. Give it a name.")
    return re.sub(r"\s", lambda match: quote(match[0]), identity)


def _written(identities: Iterable[str]) -> dict[str, str]:
    """Id -> as it is written."""
    written = {identity: written_id(identity) for identity in identities}
    owners = {name: identity for identity, name in written.items()}
    for identity, name in written.items():
        if owners[name] != identity:
            raise InvalidInputError(
                f"{identity!r} and {owners[name]!r} are both written as {name!r}. Rename one of them."
            )
    return written


def _columns(line: Line, count: int, names: str) -> list[str]:
    columns = line.text.split()
    if len(columns) != count:
        line.fail(f"{count} columns are expected ({names}), not {len(columns)}.")
    return columns


def _number(line: Line, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        line.fail(f"{text!r} is not a finite number.")
    return value


def _put(found: dict[str, Value], document: str, value: Value, line: Line) -> None:
    if document in found:
        line.fail(f"document {document!r} stands there twice for one query. Remove one of the lines.")
    found[document] = value
