"""Where a job's files come from: folders on this machine, or uploads that a store is to hold.

Everything else of a job is the same for both: how files are read, embedded and written, and what a kill leaves behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

from ingest.outcomes import BLAMELESS, FileOutcome
from ingest.source_files import Refused, SourceFile, Terms
from ingest.sources import judge_at, path_of, source_at, walk
from ingest.strategy import chunking_of
from ingest.uploads import path_of_upload
from rag.assembly import Engine
from rag.attributes import UPLOADS, file_id_of
from rag.errors import InvalidInputError, NotFoundError
from rag.ledger.jobs import WITHDRAWN, Job, Jobs
from rag.ledger.leases import Lease
from rag.ledger.store_file_records import AttachedFile, ErrorCode

# Reasons of failures that are ours, not the file's.
_OURS = frozenset(
    {"altered", "internal", "parser_killed", "parser_timeout", "parser_error", "unreadable", "changing", "outside_root"}
)

Gone = tuple[str, str, str]


class Origin(Protocol):
    """The files of one job. All methods block."""

    @property
    def kept(self) -> frozenset[str]:
        """Reasons of a refusal that leave what was read before in its place."""
        ...

    def found(self) -> Iterator[SourceFile | Refused]:
        """Every file, once."""
        ...

    def at(self, uri: str, root_uri: str) -> SourceFile | Refused:
        """One of them, as it is now."""
        ...

    def gone(self, after: str, limit: int) -> list[Gone]:
        """Documents to be removed, as Jobs.gone tells them."""
        ...

    def settle(self, outcomes: Sequence[FileOutcome]) -> None:
        """Note outside of the job what became of files that are not switched to."""
        ...

    def nothing(self) -> InvalidInputError | None:
        """The error of a job that has found no file and has none to remove; None where that is no error."""
        ...

    def finish(self) -> None:
        """Note what outlives the job."""
        ...


def is_of_uploads(job: Job) -> bool:
    """Whether a job reads uploads; none reads both."""
    return bool(job.paths) and all(path.startswith(UPLOADS) for path in job.paths)


def origin_of(engine: Engine, job: Job, lease: Lease) -> Origin:
    """The origin of a job's files."""
    return UploadOrigin(engine, job, lease) if is_of_uploads(job) else FolderOrigin(engine, job, lease)


def name_of(uri: str) -> str:
    """The name of a file, by which its parser is chosen."""
    return PurePosixPath(unquote(urlsplit(uri).path)).name if uri.startswith(UPLOADS) else path_of(uri).name


class FolderOrigin:
    """The files at and below a job's paths."""

    kept = BLAMELESS

    def __init__(self, engine: Engine, job: Job, lease: Lease) -> None:
        self._job = job
        self._jobs: Jobs = engine.jobs.under_lease(lease)
        self._limits = engine.settings.ingest
        self._paths = [path_of(uri) for uri in job.paths]

    def found(self) -> Iterator[SourceFile | Refused]:
        return walk(self._paths, self._limits)

    def at(self, uri: str, root_uri: str) -> SourceFile | Refused:
        return source_at(uri, root_uri, self._limits)

    def gone(self, after: str, limit: int) -> list[Gone]:
        return self._jobs.gone(self._job, after, limit)

    def settle(self, outcomes: Sequence[FileOutcome]) -> None:
        """The job's own rows say it all."""

    def nothing(self) -> InvalidInputError | None:
        return nothing_found([str(path) for path in self._paths])

    def finish(self) -> None:
        self._jobs.drop_refusals(self._job)
        self._jobs.remember_roots(self._job)


class UploadOrigin:
    """The uploads that a job is to read, as the ledger's table of attached files has them."""

    # The row of an upload says that it failed, so that nothing of it may be found.
    kept: frozenset[str] = frozenset()

    def __init__(self, engine: Engine, job: Job, lease: Lease) -> None:
        self._job = job
        self._jobs: Jobs = engine.jobs
        self._files = engine.store_files.under_lease(lease)
        self._engine = engine

    def found(self) -> Iterator[SourceFile | Refused]:
        return (source_of(self._engine, each) for each in self._files.todo(self._job.store_id, self._job.id))

    def at(self, uri: str, root_uri: str) -> SourceFile | Refused:
        file_id = file_id_of(uri) or ""
        attached = self._files.attached(self._job.store_id, [file_id]).get(file_id)
        if attached is None or attached.row.status != "in_progress" or attached.row.job_id != self._job.id:
            return Refused(name_of(uri), uri, root_uri, WITHDRAWN, "It was detached, cancelled, or attached otherwise.")
        return source_of(self._engine, attached)

    def gone(self, after: str, limit: int) -> list[Gone]:
        return self._jobs.refused(self._job, after, limit)

    def settle(self, outcomes: Sequence[FileOutcome]) -> None:
        store_id, job_id = self._job.store_id, self._job.id
        unchanged = [file_id_of(each.uri) or "" for each in outcomes if each.outcome == "unchanged"]
        self._files.complete(store_id, unchanged, job_id)
        for each in outcomes:
            if each.outcome in ("skipped", "failed"):
                self._files.fail(store_id, file_id_of(each.uri) or "", job_id, error_code(each.reason), each.message)

    def nothing(self) -> InvalidInputError | None:
        return None

    def finish(self) -> None:
        """Each file was settled when it was done."""


def source_of(engine: Engine, attached: AttachedFile) -> SourceFile | Refused:
    """The bytes of an attached upload as they lie on disk, or why they are not read."""
    row, uri = attached.row, attached.uri
    terms = Terms(dict(row.attributes), tuple(row.groups), chunking_of(row.chunking), attached.sha256)
    root = f"{UPLOADS}{row.file_id}"
    try:
        real = os.path.realpath(path_of_upload(engine.settings.data_dir, row.file_id), strict=True)
    except (OSError, NotFoundError):
        message = "Its bytes are not in the data directory any more. Upload the file again."
        return Refused(attached.filename, uri, root, "unreadable", message)
    return judge_at(attached.filename, real, uri, root, engine.settings.ingest, terms)


def error_code(reason: str) -> ErrorCode:
    """OpenAI's word for why a file failed."""
    if reason == "unsupported":
        return "unsupported_file"
    return "server_error" if reason in _OURS else "invalid_file"


def nothing_found(paths: Sequence[str]) -> InvalidInputError:
    """The error of a run that has nothing to read and nothing to remove."""
    return InvalidInputError(
        f"There are no files in {', '.join(paths)}. Name a folder that holds documents; hidden and ignored files are "
        "not read."
    )
