"""Files as OpenAI's clients know them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from rag.ledger.files import StoredFile

# Of OpenAI's purposes: those of documents to be read. The others are for training, batches and evaluations.
Purpose = Literal["assistants", "user_data"]

ANCHOR = "expires_after[anchor]"
SECONDS = "expires_after[seconds]"


class UploadFields(BaseModel):
    """The fields of an upload's form besides the file."""

    model_config = ConfigDict(extra="forbid")

    purpose: Purpose
    expires_anchor: Annotated[Literal["created_at"] | None, Field(alias=ANCHOR)] = None
    expires_seconds: Annotated[int | None, Field(alias=SECONDS, ge=3600, le=2_592_000)] = None

    @field_validator("purpose", mode="before")
    @classmethod
    def _supported(cls, value: str) -> str:
        if value not in get_args(Purpose):
            raise PydanticCustomError("unsupported", "this is not supported; send assistants or user_data")
        return value

    @field_validator("expires_seconds", mode="before")
    @classmethod
    def _digits(cls, value: str) -> str:
        if not (value.isascii() and value.isdigit() and len(value) <= 10):
            raise PydanticCustomError("seconds", "send a whole number of seconds")
        return value

    @model_validator(mode="after")
    def _both(self) -> UploadFields:
        if (self.expires_anchor is None) != (self.expires_seconds is None):
            raise PydanticCustomError("incomplete", "expires_after needs both anchor and seconds")
        return self


class FileObject(BaseModel):
    """An uploaded file."""

    id: Annotated[str, Field(examples=["file-6f1c2a9e0b7d4c3e8a5f1d20"])]
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: Annotated[str, Field(examples=["handbook.pdf"])]
    purpose: Purpose
    status: Literal["processed"] = "processed"
    status_details: None = None


class FileList(BaseModel):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


# FastAPI cannot derive it: the handler reads the form itself, so that the file never stands in memory.
UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file", "purpose"],
                "additionalProperties": False,
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "the document, with its filename"},
                    "purpose": {"type": "string", "enum": ["assistants", "user_data"], "example": "assistants"},
                    ANCHOR: {"type": "string", "enum": ["created_at"]},
                    SECONDS: {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
                },
                "dependentRequired": {ANCHOR: [SECONDS], SECONDS: [ANCHOR]},
            }
        }
    },
}


def file_object(file: StoredFile) -> dict[str, Any]:
    """A file as JSON."""
    return FileObject(
        id=file.id, bytes=file.size_bytes, created_at=int(file.created_at),
        expires_at=None if file.expires_at is None else int(file.expires_at), filename=file.filename,
        purpose=file.purpose,
    ).model_dump()  # fmt: skip
