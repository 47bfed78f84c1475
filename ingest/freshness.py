"""Documents against the disk: whether a document's file is still what was read, and which files were never read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from ingest.changes import compare_hash, compare_stat
from ingest.ignoring import LeftOut
from ingest.origins import source_of
from ingest.outcomes import BLAMELESS
from ingest.planning import SCAN_FILES, Recipes
from ingest.source_files import Refused, SourceFile
from ingest.sources import path_of, source_at, walk
from rag.assembly import Engine
from rag.attributes import file_id_of
from rag.errors import InvalidInputError, ParseError
from rag.ledger.documents import DocumentRecord
from rag.ledger.inspection import Inspection, Row

Verdict = Literal["fresh", "changed", "reread", "gone", "left_out", "refused", "closed", "rootless", "lost"]


@dataclass(frozen=True, slots=True)
class Freshness:
    """How a document stands to its file, and a sentence on it."""

    verdict: Verdict
    message: str = ""


class Disk:
    """What lies on disk of one store's documents."""

    def __init__(self, engine: Engine, inspection: Inspection) -> None:
        self._engine = engine
        self._limits = engine.settings.ingest
        self._recipes = Recipes(engine)
        self._inspection = inspection
        self._rows = inspection.jobs()
        known = [uri for uri in inspection.roots() if file_path(uri)]
        self._ingested = known
        # What an unfinished job was asked to read becomes a root at its end.
        self.roots = sorted({*known, *self._job_paths(finished=False)})
        self._left_out: dict[str, LeftOut] = {}

    def judge(self, known: DocumentRecord) -> Freshness:  # noqa: PLR0911 - one verdict a return
        """Compare a document with its file: by size and time, and by its bytes where these leave it open."""
        file_id = file_id_of(known.uri)
        if file_id is not None:
            return self._judge_upload(known, file_id)
        path = file_path(known.uri)
        if path is None:
            return Freshness("gone", "Its URI is that of no file.")
        gone = _why_gone(path)
        if gone:
            return gone
        above = roots_of(known.uri, self.roots)
        if not above:
            return Freshness("rootless", "It lies below nothing that was ingested by name, so no sync looks at it.")
        try:
            rule = self._rule(path, above)
        except InvalidInputError as error:
            return Freshness("closed", str(error))
        if rule:
            return Freshness("left_out", f"Its file is left out by now ({rule}).")
        file = source_at(known.uri, above[-1], self._limits)
        if isinstance(file, Refused):
            return Freshness("closed" if file.reason in BLAMELESS else "refused", file.message)
        return self._judge_file(file, known)

    def _judge_upload(self, known: DocumentRecord, file_id: str) -> Freshness:
        attached = self._engine.store_files.attached(known.store_id, [file_id]).get(file_id)
        if attached is None or attached.uri != known.uri or attached.row.status in ("failed", "cancelled"):
            return Freshness("gone", "It is of an upload that the store does not hold any more.")
        if attached.row.status == "in_progress":
            return Freshness("fresh", "A job is to read the upload again.")
        file = source_of(self._engine, attached)
        if isinstance(file, Refused):
            return Freshness("lost" if file.reason in BLAMELESS else "refused", file.message)
        freshness = self._judge_file(file, known)
        if freshness.verdict == "changed":
            return Freshness("lost", "Its bytes are not what was uploaded any more. Upload the file again.")
        return freshness

    def _judge_file(self, file: SourceFile, known: DocumentRecord) -> Freshness:
        recipe = self._recipes.of(file.path.name, file.terms)
        if known.recipe != recipe:
            return Freshness("reread", "It was read by another version, or under other settings.")
        if compare_stat(file, known, recipe) == "unchanged":
            return Freshness("fresh")
        try:
            content = file.read(self._limits.max_file_bytes)
        except ParseError as error:
            return Freshness("closed" if error.reason in BLAMELESS else "refused", str(error))
        if compare_hash(content.sha256, known, recipe) == "unchanged":
            return Freshness("fresh")
        return Freshness("changed", "Its file has changed since it was read.")

    def unread(self) -> Iterator[str]:
        """URIs of files that lie in the folders and that the ledger does not know.

        Raises:
            InvalidInputError: a `.quothignore` cannot be understood.
        """
        files = walk(_present(self._ingested), self._limits)
        while batch := list(islice(files, SCAN_FILES)):
            known = self._inspection.known([file.uri for file in batch])
            yield from (file.uri for file in batch if file.uri not in known)

    def present_roots(self) -> list[Path]:
        """What was ingested by name, or is to be, and is there."""
        return _present(self.roots)

    def has_root(self, uri: str) -> bool:
        """Whether it lies at or below something that was ingested by name."""
        return bool(roots_of(uri, self.roots))

    def sources_of(self, uri: str) -> list[Path]:
        """What to ingest to find a document again that lies below no root: a finished job's path, or its file."""
        above = roots_of(uri, self._job_paths(finished=True)) or [uri]
        return _present(above[:1])

    def _rule(self, path: Path, above: list[str]) -> str:
        """The rule that leaves a file out, unless it is found from one of its roots."""
        rule: str | None = ""
        for root in above:
            if root not in self._left_out:
                self._left_out[root] = LeftOut(path_of(root))
            rule = self._left_out[root].why(path)
            if rule is None:
                return ""
        return rule or ""

    def _job_paths(self, *, finished: bool) -> list[str]:
        found: set[str] = set()
        for row in self._rows:
            if (row["state"] == "done") == finished:
                found.update(_paths(row))
        return sorted(found)


def roots_of(uri: str, roots: list[str]) -> list[str]:
    """Those of these roots that a URI is at or below, the longest last."""
    return sorted((root for root in roots if uri == root or uri.startswith(root.rstrip("/") + "/")), key=len)


def file_path(uri: str) -> Path | None:
    """The path of a URI that a walk can have given; None for any other."""
    try:
        return path_of(uri)
    except (InvalidInputError, UnicodeEncodeError):
        return None


def _present(uris: list[str]) -> list[Path]:
    return [path for path in map(file_path, uris) if path and path.exists()]


def _paths(job: Row) -> list[str]:
    try:
        paths: Any = json.loads(job["paths"])
    except (TypeError, ValueError):
        return []
    return [path for path in paths if isinstance(path, str) and file_path(path)] if isinstance(paths, list) else []


def _why_gone(path: Path) -> Freshness | None:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Freshness("gone", "Its file is gone.")
    except (OSError, ValueError) as error:
        return Freshness("closed", f"Its file cannot be looked at: {error}.")
    return None
