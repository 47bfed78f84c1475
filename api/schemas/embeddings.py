"""The body of POST /v1/embeddings, as OpenAI defines it, and one field more: what a text is embedded as."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

MAX_TEXTS: Final = 2048


def _as_texts(given: Any) -> Any:
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and any(isinstance(each, int | list) for each in given):
        raise PydanticCustomError(
            "token_ids",
            "token ids mean nothing to this model: send text (in LangChain: check_embedding_ctx_length=False)",
        )
    return given


NotEmpty = Annotated[str, Field(min_length=1)]


class EmbeddingObject(BaseModel):
    """The vector of one text; in base64, little-endian 32-bit floats."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"]
    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingUsage


class EmbeddingRequest(BaseModel):
    """The request."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"model": "BAAI/bge-small-en-v1.5", "input": ["Trains are booked in second class."]},
                {"model": "BAAI/bge-small-en-v1.5", "input": "Which class do I book?", "input_type": "query"},
            ]
        },
    )

    model: Annotated[str, Field(description="the configured embedder, as GET /v1/models names it")]
    input: Annotated[
        list[NotEmpty],
        Field(min_length=1, max_length=MAX_TEXTS),
        BeforeValidator(_as_texts, json_schema_input_type=NotEmpty | list[NotEmpty]),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int | None, Field(ge=1, description="as the model has them; it cannot have less")] = None
    # Ours: models have other prefixes for questions than for what answers them.
    input_type: Literal["passage", "query"] | None = None

    # It changes nothing about the vectors.
    user: str | None = None
