"""Vector stores, as OpenAI's clients know them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.schemas.numbers import Whole
from api.schemas.store_files import ChunkingStrategy
from rag.ledger.conversations import storable
from rag.ledger.store_file_records import Status
from rag.ledger.stores import Store

MAX_FILES: Final = 500
MAX_NAME_CHARACTERS: Final = 256
MAX_DESCRIPTION_CHARACTERS: Final = 512

NameText = Annotated[str, Field(max_length=MAX_NAME_CHARACTERS), AfterValidator(storable)]
LabelKey = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(storable)]
LabelValue = Annotated[str, Field(max_length=512), AfterValidator(storable)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=16, examples=[{"team": "hr"}])]
FileId = Annotated[str, Field(min_length=1, max_length=64)]


class ExpiresAfter(BaseModel):
    """How long after its last use a store goes."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["last_active_at"]
    days: Annotated[int, Field(ge=1, le=365, strict=True), Whole]


class VectorStoreRequest(BaseModel):
    """The body of POST /v1/vector_stores."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[NameText | None, Field(examples=["Handbooks"])] = None
    description: Annotated[
        str | None, Field(max_length=MAX_DESCRIPTION_CHARACTERS), AfterValidator(lambda text: text and storable(text))
    ] = None
    file_ids: Annotated[list[FileId] | None, Field(max_length=MAX_FILES)] = None
    metadata: Labels | None = None
    expires_after: ExpiresAfter | None = None
    chunking_strategy: ChunkingStrategy | None = None


class VectorStoreUpdate(BaseModel):
    """The body of POST /v1/vector_stores/ID. What is left out stays; null empties, but a name stays a name."""

    model_config = ConfigDict(extra="forbid")

    name: NameText | None = None
    metadata: Labels | None = None
    expires_after: ExpiresAfter | None = None


class FileCounts(BaseModel):
    """Attached files by status."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class VectorStoreObject(BaseModel):
    """A vector store; `description` is in no object of OpenAI's."""

    id: Annotated[str, Field(examples=["vs_0f6d3c1e5b7a4d2c9e8f7a6b5c4d3e2f"])]
    object: Literal["vector_store"] = "vector_store"
    created_at: int
    name: str
    description: str
    usage_bytes: int
    file_counts: FileCounts
    status: Literal["expired", "in_progress", "completed"]
    expires_after: ExpiresAfter | None
    expires_at: int | None
    last_active_at: int
    metadata: dict[str, str]


class VectorStoreList(BaseModel):
    """A page of vector stores."""

    object: Literal["list"] = "list"
    data: list[VectorStoreObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VectorStoreDeleted(BaseModel):
    """A vector store that is gone."""

    id: str
    object: Literal["vector_store.deleted"] = "vector_store.deleted"
    deleted: Literal[True] = True


def store_object(store: Store, counts: Mapping[Status, int], usage_bytes: int, now: float) -> dict[str, Any]:
    """A vector store as JSON.

    Args:
        counts: its attached files by status.
        usage_bytes: of them.
    """
    status = "expired" if store.has_expired(now) else "in_progress" if counts["in_progress"] else "completed"
    expires_at = store.expires_at
    return {
        "id": store.public_id, "object": "vector_store", "created_at": int(store.created_at),
        "name": store.title or ("" if store.name == store.public_id else store.name),
        "description": store.description, "usage_bytes": usage_bytes,
        "file_counts": {**counts, "total": sum(counts.values())},
        "status": status,
        "expires_after": store.expires_days and {"anchor": "last_active_at", "days": store.expires_days},
        "expires_at": None if expires_at is None else int(expires_at), "last_active_at": int(store.last_active_at),
        "metadata": dict(store.labels),
    }  # fmt: skip
