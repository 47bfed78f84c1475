"""What is written beside a model's files: where they came from, and their hashes, so that no start reads them all."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rag.errors import ConfigurationError

MANIFEST = "quoth.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Of one model folder. `files` maps each path to the sha256 of its bytes.

    `derived` maps a file that was made here to the sha256 of the weights it was made from.
    """

    name: str
    source: str
    revision: str
    files: Mapping[str, str]
    derived: Mapping[str, str]


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder, or None when it has none. Raises ConfigurationError when it is not one of ours."""
    path = folder / MANIFEST
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error}. Delete the folder and pull the model again."
        ) from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it whole or not at all."""
    write_json(folder / MANIFEST, asdict(manifest))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    temporary.replace(path)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remembered_sha256(path: Path, models_dir: Path) -> str:
    """The sha256 of a file that has no manifest: read once, then remembered by path, size and time of change."""
    stat = path.stat()
    key, state = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
    memory = models_dir / "hashes.json"
    try:
        known: dict[str, Any] = json.loads(memory.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = {}  # a memory that is gone or torn costs one more reading, nothing else
    if key in known and known[key][:2] == state:
        return str(known[key][2])
    digest = sha256_of(path)
    models_dir.mkdir(parents=True, exist_ok=True)
    write_json(memory, {**known, key: [*state, digest]})
    return digest
