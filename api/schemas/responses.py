"""The body of POST /v1/responses, as OpenAI defines it.

What would change an answer and is not supported is refused by name; what changes nothing about one is accepted.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from api.schemas.search_filters import FILTERS_SCHEMA, to_filter
from api.schemas.store_search import HalfLife, HybridSearch
from rag.conversation import Message
from rag.errors import InvalidInputError
from rag.ledger.conversations import storable
from rag.protocols import Sampling
from rag.searching import SearchOptions

MAX_ITEMS: Final = 1000
MAX_PARTS: Final = 100
MAX_STORES: Final = 10
MAX_RESULTS: Final = 50
MAX_PAIRS: Final = 16
MAX_KEY_CHARACTERS: Final = 64
MAX_VALUE_CHARACTERS: Final = 512
MAX_INTEGER: Final = 2**31 - 1
RESULTS: Final = "file_search_call.results"


def _refuse(value: object) -> None:
    if value is not None:
        raise PydanticCustomError("extra_forbidden", "not supported")


# A field that clients know and Quoth has not: it may say null.
Unsupported = Annotated[None, BeforeValidator(_refuse)]
Text = Annotated[str, AfterValidator(storable)]
ShortText = Annotated[str, Field(max_length=MAX_VALUE_CHARACTERS), AfterValidator(storable)]
StoreName = Annotated[str, Field(min_length=1, max_length=MAX_VALUE_CHARACTERS)]
MetadataKey = Annotated[str, Field(max_length=MAX_KEY_CHARACTERS), AfterValidator(storable)]


class Strict(BaseModel):
    """What is not declared is refused."""

    model_config = ConfigDict(extra="forbid")


class InputText(Strict):
    """Text of a message; images, sound and files are not understood."""

    type: Literal["input_text"]
    text: Text


class OutputText(Strict):
    """Text of an earlier answer, as it was received."""

    type: Literal["output_text"]
    text: Text
    annotations: list[Any] = []
    logprobs: list[Any] | None = None


def _as_parts(content: Any) -> Any:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content


def _as_items(given: Any) -> Any:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


Part = Annotated[InputText | OutputText, Field(discriminator="type")]
Parts = Annotated[
    list[Part],
    Field(min_length=1, max_length=MAX_PARTS),
    BeforeValidator(_as_parts, json_schema_input_type=str | list[Part]),
]


class InputMessage(Strict):
    """A message of the input."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts
    id: ShortText | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    phase: Literal["commentary", "final_answer"] | None = None

    def to_message(self) -> Message:
        """The message as the engine knows it."""
        text = "\n".join(part.text for part in self.content)
        return Message("system" if self.role == "developer" else self.role, text)


class EarlierSearch(Strict):
    """The search of an earlier answer, as it was received. Every answer searches anew, so that it says nothing."""

    type: Literal["file_search_call"]
    id: ShortText
    queries: list[str] = []
    status: str | None = None
    results: list[Any] | None = None


def _type_of(item: Any) -> Any:
    return item.get("type", "message") if isinstance(item, dict) else getattr(item, "type", None)


Item = Annotated[
    Annotated[InputMessage, Tag("message")] | Annotated[EarlierSearch, Tag("file_search_call")],
    Discriminator(
        _type_of,
        custom_error_type="unsupported_item",
        custom_error_message="only messages, and file_search_call items of earlier answers, are understood",
    ),
]


def _checked(filters: dict[str, Any]) -> dict[str, Any]:
    try:
        to_filter(filters)
    except InvalidInputError as error:
        raise PydanticCustomError("invalid_filter", "{why}", {"why": str(error)}) from None
    return filters


# As they came, since the response repeats them.
FilterFields = Annotated[dict[str, Any], AfterValidator(_checked), WithJsonSchema(FILTERS_SCHEMA)]


class FileSearchRanking(Strict):
    """How passages are ranked; both names of a ranker mean the configured one."""

    ranker: Literal["auto", "default-2024-11-15"] | None = None
    score_threshold: Annotated[
        float | None, Field(ge=0, le=1, allow_inf_nan=False, description="relative to the best passage")
    ] = None
    hybrid_search: HybridSearch | None = None
    recency_half_life_days: HalfLife = None


class FileSearchTool(Strict):
    """The stores to search, and how."""

    type: Literal["file_search"]
    vector_store_ids: Annotated[list[StoreName], Field(min_length=1, max_length=MAX_STORES)]
    max_num_results: Annotated[int | None, Field(ge=1, le=MAX_RESULTS)] = None
    filters: FilterFields | None = None
    ranking_options: FileSearchRanking | None = None

    @property
    def search_options(self) -> SearchOptions:
        """The same for the retriever."""
        ranking = self.ranking_options or FileSearchRanking()
        return {
            "k": self.max_num_results,
            "where": None if self.filters is None else to_filter(self.filters),
            "dense_weight": ranking.hybrid_search.dense_weight if ranking.hybrid_search else None,
            "least_score": ranking.score_threshold,
            "recency_half_life_days": ranking.recency_half_life_days,
        }


class ChosenTool(Strict):
    """The one tool that there is."""

    type: Literal["file_search"]


class TextFormat(Strict):
    """Only plain text is written."""

    type: Literal["text"]


class TextOptions(Strict):
    """How the text is written."""

    format: TextFormat | None = None
    verbosity: Unsupported = None


class ResponseStreamOptions(Strict):
    """Options of a streamed response."""

    include_obfuscation: Literal[False] | None = None


class ResponseRequest(Strict):
    """The request."""

    model: Annotated[Text, Field(description="quoth/STORE, or quoth for the stores that file_search names")]
    input: Annotated[
        list[Item],
        Field(min_length=1, max_length=MAX_ITEMS),
        BeforeValidator(_as_items, json_schema_input_type=str | list[Item]),
    ]
    instructions: Text | None = None
    tools: Annotated[list[FileSearchTool], Field(max_length=1)] | None = None
    tool_choice: Literal["auto", "required"] | ChosenTool | None = None
    include: list[Literal["file_search_call.results"]] | None = None
    previous_response_id: Annotated[str | None, Field(max_length=64)] = None
    store: bool | None = None
    metadata: Annotated[dict[MetadataKey, ShortText] | None, Field(max_length=MAX_PAIRS)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    max_output_tokens: Annotated[int | None, Field(ge=1, le=MAX_INTEGER)] = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    text: TextOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None

    # They change nothing about the answer.
    user: ShortText | None = None
    safety_identifier: ShortText | None = None
    prompt_cache_key: ShortText | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    service_tier: ShortText | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int | None, Field(ge=1, le=MAX_INTEGER)] = None
    top_logprobs: Literal[0] | None = None
    background: Literal[False] | None = None

    # They would change it.
    conversation: Unsupported = None
    prompt: Unsupported = None
    reasoning: Unsupported = None
    moderation: Unsupported = None
    context_management: Unsupported = None

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"model": "quoth/default", "input": "How many days of annual leave do I get?"},
                {
                    "model": "quoth",
                    "input": [{"role": "user", "content": "Which class are trains booked in?"}],
                    "tools": [{"type": "file_search", "vector_store_ids": ["default"], "max_num_results": 4}],
                    "include": ["file_search_call.results"],
                    "stream": True,
                },
            ]
        },
    )

    @model_validator(mode="after")
    def _fits_together(self) -> ResponseRequest:
        if not self.messages or self.messages[-1].role != "user":
            raise ValueError("the last message of the input must be the user's question")
        if isinstance(self.tool_choice, ChosenTool) and self.tool is None:
            raise ValueError("tool_choice names file_search, which is not among the tools")
        return self

    @property
    def tool(self) -> FileSearchTool | None:
        """The search that is asked for."""
        return self.tools[0] if self.tools else None

    @property
    def messages(self) -> list[Message]:
        """The input's messages, oldest first; the last is the question."""
        return [item.to_message() for item in self.input if isinstance(item, InputMessage)]

    @property
    def guidance(self) -> list[Message]:
        """The instructions, as a message; they stand right before the question, so that they are left out last."""
        return [Message("system", self.instructions)] if self.instructions else []

    @property
    def shows_results(self) -> bool:
        """Whether the response carries the passages that were found."""
        return RESULTS in (self.include or ())

    @property
    def sampling(self) -> Sampling:
        """How the model picks its words."""
        return Sampling(max_tokens=self.max_output_tokens, temperature=self.temperature, top_p=self.top_p)
