"""The files of a vector store and their batches, as OpenAI's clients know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.numbers import Whole
from rag.attributes import check_attributes, check_groups
from rag.documents import AttributeValue
from rag.errors import InvalidInputError
from rag.ledger.store_file_records import FileBatch, Status, StoreFile

MAX_BATCH: Final = 2000

FileId = Annotated[str, Field(min_length=1, max_length=64, examples=["file-6f1c2a9e0b7d4c3e8a5f1d20"])]
AttributeValues = dict[str, str | bool | int | float]


def _checked(check: Callable[[Any], Any], kind: type[dict[Any, Any] | list[Any]], what: str) -> PlainValidator:
    def checked(given: Any) -> Any:
        if given is None:
            return None
        try:
            if not isinstance(given, kind) or not all(isinstance(each, str) for each in given):
                raise InvalidInputError(f"Send {what}.")
            return check(given)
        except InvalidInputError as error:
            raise PydanticCustomError("unstorable", "{why}", {"why": str(error)}) from None

    return PlainValidator(checked)


Attributes = Annotated[
    dict[str, AttributeValue] | None,
    _checked(check_attributes, dict, "an object of at most 16 strings, numbers and booleans"),
    WithJsonSchema({
        "anyOf": [
            {
                "type": "object", "maxProperties": 16,
                "propertyNames": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9 -]+$"},
                "additionalProperties": {
                    "anyOf": [
                        {"type": "string", "maxLength": 512}, {"type": "number", "minimum": -1e15, "maximum": 1e15},
                        {"type": "boolean"},
                    ]
                },
                "examples": [{"year": 2024, "public": True}],
            },
            {"type": "null"},
        ]
    }),
]  # fmt: skip

Groups = Annotated[
    Sequence[str] | None,
    _checked(check_groups, list, "a list of names"),
    WithJsonSchema({
        "anyOf": [
            {"type": "array", "maxItems": 64, "items": {"type": "string", "minLength": 1, "maxLength": 64}},
            {"type": "null"},
        ],
        "description": "who may read it, of those who may read the store; everyone if left out",
    }),
]  # fmt: skip


class Strict(BaseModel):
    """What is not declared is refused."""

    model_config = ConfigDict(extra="forbid")


class StaticChunking(Strict):
    """The longest chunk, and how much of it the next one repeats."""

    max_chunk_size_tokens: Annotated[int, Field(ge=100, le=4096, strict=True), Whole]
    chunk_overlap_tokens: Annotated[int, Field(ge=0, le=2048, strict=True), Whole]

    @model_validator(mode="after")
    def _is_at_most_half(self) -> StaticChunking:
        if self.chunk_overlap_tokens * 2 > self.max_chunk_size_tokens:
            raise PydanticCustomError("overlap", "chunk_overlap_tokens must not exceed half of max_chunk_size_tokens")
        return self


class AutoChunkingStrategy(Strict):
    """As this server is set up."""

    type: Literal["auto"]


class StaticChunkingStrategy(Strict):
    """As the request says."""

    type: Literal["static"]
    static: StaticChunking


ChunkingStrategy = Annotated[AutoChunkingStrategy | StaticChunkingStrategy, Field(discriminator="type")]


class StoreFileRequest(Strict):
    """The body of POST /v1/vector_stores/ID/files, and an item of a batch's `files`. `groups` is Quoth's own."""

    file_id: FileId
    attributes: Attributes = None
    chunking_strategy: ChunkingStrategy | None = None
    groups: Groups = None


class StoreFileUpdate(Strict):
    """The body of POST /v1/vector_stores/ID/files/FILE: all of its attributes; null takes them away."""

    attributes: Attributes


class FileBatchRequest(Strict):
    """The body of POST /v1/vector_stores/ID/file_batches: the same for all `file_ids`, or `files` with their own."""

    file_ids: Annotated[list[FileId] | None, Field(min_length=1, max_length=MAX_BATCH)] = None
    files: Annotated[list[StoreFileRequest] | None, Field(min_length=1, max_length=MAX_BATCH)] = None
    attributes: Attributes = None
    chunking_strategy: ChunkingStrategy | None = None
    groups: Groups = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> FileBatchRequest:
        if (self.file_ids is None) == (self.files is None):
            raise PydanticCustomError("batch", "send file_ids or files, and not both")
        if self.files is not None and (self.attributes or self.chunking_strategy or self.groups):
            raise PydanticCustomError("batch", "with files, each has its own attributes, chunking_strategy and groups")
        ids = [file.file_id for file in self.files or ()]
        if len(set(ids)) < len(ids):
            raise PydanticCustomError("batch", "files names a file twice")
        return self

    @property
    def items(self) -> list[StoreFileRequest]:
        """What is to be attached, each file once."""
        if self.files is not None:
            return self.files
        return [
            StoreFileRequest(
                file_id=file_id, attributes=self.attributes, chunking_strategy=self.chunking_strategy,
                groups=list(self.groups) if self.groups else None,
            )
            for file_id in dict.fromkeys(self.file_ids or ())
        ]  # fmt: skip


class LastError(BaseModel):
    """Why a file is not in the store."""

    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


class StaticChunkingObject(BaseModel):
    """The strategy in force."""

    type: Literal["static"] = "static"
    static: dict[str, int]


class StoreFileObject(BaseModel):
    """A file of a store. `groups` is Quoth's own."""

    id: str
    object: Literal["vector_store.file"] = "vector_store.file"
    created_at: int
    vector_store_id: str
    status: Status
    last_error: LastError | None
    usage_bytes: int
    attributes: AttributeValues
    chunking_strategy: StaticChunkingObject
    groups: list[str]


class StoreFileList(BaseModel):
    """A page of a store's files."""

    object: Literal["list"] = "list"
    data: list[StoreFileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class StoreFileDeleted(BaseModel):
    """A file that the store no longer holds; the upload is still there."""

    id: str
    object: Literal["vector_store.file.deleted"] = "vector_store.file.deleted"
    deleted: Literal[True] = True


class FileText(BaseModel):
    """A piece of a file's text."""

    type: Literal["text"] = "text"
    text: str


class FileContent(BaseModel):
    """A file's text, as it was parsed: the pieces joined."""

    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"
    data: list[FileText]
    has_more: Literal[False] = False
    next_page: None = None


class BatchCounts(BaseModel):
    """Files of a batch by status."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class FileBatchObject(BaseModel):
    """A batch of files."""

    id: str
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    created_at: int
    vector_store_id: str
    status: Status
    file_counts: BatchCounts


def chunking_of(strategy: AutoChunkingStrategy | StaticChunkingStrategy | None) -> dict[str, int]:
    """A strategy as the ledger keeps it; the server's own is empty."""
    return strategy.static.model_dump() if isinstance(strategy, StaticChunkingStrategy) else {}


def store_file_object(public_id: str, file: StoreFile, chunk_tokens: int) -> dict[str, Any]:
    """A file of a store as JSON.

    Args:
        public_id: of the store.
        chunk_tokens: the engine's, in force where the file has no strategy of its own.
    """
    own = {"max_chunk_size_tokens": chunk_tokens, "chunk_overlap_tokens": 0}
    error = {"code": file.error_code, "message": file.error_message} if file.error_code else None
    return {
        "id": file.file_id, "object": "vector_store.file", "created_at": int(file.created_at),
        "vector_store_id": public_id, "status": file.status, "last_error": error, "usage_bytes": file.usage_bytes,
        "attributes": dict(file.attributes), "groups": list(file.groups),
        "chunking_strategy": {"type": "static", "static": dict(file.chunking) or own},
    }  # fmt: skip


def batch_object(public_id: str, batch: FileBatch, counts: Mapping[Status, int]) -> dict[str, Any]:
    """A batch as JSON; it has failed when every one of its files has."""
    total = sum(counts.values())
    status: Status = "completed"
    if batch.cancelled_at is not None:
        status = "cancelled"
    elif counts["in_progress"]:
        status = "in_progress"
    elif total and counts["failed"] == total:
        status = "failed"
    return {
        "id": batch.id, "object": "vector_store.files_batch", "created_at": int(batch.created_at),
        "vector_store_id": public_id, "status": status, "file_counts": {**counts, "total": total},
    }  # fmt: skip
