"""Results of systems that nothing has changed since: kept, and not measured again.

A result is named by all that it depends on: the questions and documents, every setting, the embedder's weights, the
code of this project, the packages and the machine. Where one of them differs, it is measured anew.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from evals.provenance import cpu_model, versions
from evals.records import SystemResult
from evals.results import system_from_json, system_to_json

CODE = ("rag", "ingest", "evals")


def place_of(folder: Path, **depends_on: Any) -> Path:
    """The file of the result that depends on these values of JSON types, and on code, packages and machine."""
    named = {**depends_on, "code": code_sha256(), "versions": versions(), "cpu": cpu_model(), "cores": os.cpu_count()}
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
    return folder / f"{digest[:32]}.json.gz"


def find(path: Path) -> SystemResult | None:
    """What is kept at this place; None where nothing is, or a kill has cut it off."""
    try:
        return system_from_json(json.loads(gzip.decompress(path.read_bytes())))
    except (FileNotFoundError, EOFError, gzip.BadGzipFile, KeyError, TypeError, ValueError):
        return None


def time_of(path: Path) -> str:
    """When the result at this place was measured (UTC)."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")


def keep(path: Path, result: SystemResult) -> None:
    """Keep a result at its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(gzip.compress(json.dumps(system_to_json(result)).encode(), compresslevel=1))
    draft.replace(path)


@cache
def code_sha256() -> str:
    """Over the project's own files that a figure can depend on."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in _files(root):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for package in CODE:
        yield from sorted(path for path in (root / package).rglob("*") if path.suffix in {".py", ".md", ".toml"})
