"""Records of the uploads that a store holds or is to hold, and of the batches that they came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from rag.attributes import upload_uri
from rag.documents import AttributeValue

Status = Literal["in_progress", "completed", "failed", "cancelled"]
ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]
Order = Literal["asc", "desc"]

STATUSES: Final[tuple[Status, ...]] = ("in_progress", "completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class StoreFile:
    """An upload in a store.

    Attributes:
        error_code: OpenAI's, of one that failed.
        groups: that may read it; empty where everyone may who may read the store.
        chunking: the static strategy that is in force for it; empty where the engine's own settings are.
        usage_bytes: of its text and its vectors; 0 until it is completed.
        job_id: of the job that reads it, or was the last to.
    """

    store_id: str
    file_id: str
    status: Status
    error_code: ErrorCode | None
    error_message: str
    attributes: Mapping[str, AttributeValue]
    groups: Sequence[str]
    chunking: Mapping[str, int]
    usage_bytes: int
    batch_id: str | None
    job_id: str | None
    created_at: float


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Files that were attached together."""

    id: str
    store_id: str
    created_at: float
    cancelled_at: float | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """An upload as it is to be in a store."""

    file_id: str
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    groups: Sequence[str] = ()
    chunking: Mapping[str, int] = field(default_factory=dict)

    def is_as(self, row: StoreFile) -> bool:
        """Whether a row already says all of it."""
        said = (dict(row.attributes), tuple(row.groups), dict(row.chunking))
        return said == (dict(self.attributes), tuple(self.groups), dict(self.chunking))


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A row together with what is known of the upload itself."""

    row: StoreFile
    filename: str
    sha256: str

    @property
    def uri(self) -> str:
        """Of its document."""
        return upload_uri(self.row.file_id, self.filename)
