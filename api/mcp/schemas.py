"""What the tools take and return. The models' JSON schemas are what clients see."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.search_filters import FiltersBody
from rag.searching import MAX_QUESTION_CHARACTERS

MAX_PASSAGES = 50
MAX_LISTED = 100
MAX_TEXT_CHARACTERS = 20_000  # of a document, at once: more would fill a model's context

StoreName = Annotated[
    str | None, Field(max_length=256, description="name or id of a store, as list_stores shows; default: the only one")
]
Question = Annotated[str, Field(min_length=1, max_length=MAX_QUESTION_CHARACTERS)]
Offset = Annotated[int, Field(ge=0, le=1_000_000_000)]


class Arguments(BaseModel):
    """Base: unknown arguments are refused."""

    model_config = ConfigDict(extra="forbid")


class SearchArguments(Arguments):
    """Of search_documents."""

    query: Annotated[Question, Field(description="a question or keywords")]
    store: StoreName = None
    k: Annotated[int, Field(ge=1, le=MAX_PASSAGES, description="how many passages")] = 6
    filters: FiltersBody = None


class AskArguments(Arguments):
    """Of ask."""

    question: Annotated[Question, Field(description="a question that stands alone")]
    store: StoreName = None


class ListArguments(Arguments):
    """Of list_documents."""

    store: StoreName = None
    after: Annotated[str | None, Field(max_length=64, description="`next` of the page before")] = None
    limit: Annotated[int, Field(ge=1, le=MAX_LISTED)] = 20


class GetArguments(Arguments):
    """Of get_document."""

    document_id: Annotated[str, Field(max_length=64, description="as the other tools return it")]
    start: Annotated[Offset, Field(description="first character")] = 0
    end: Annotated[
        Offset | None, Field(description=f"behind the last one; at most {MAX_TEXT_CHARACTERS} characters are returned")
    ] = None


class NoArguments(Arguments):
    """Of list_stores."""


class Source(BaseModel):
    """Where words stand: characters of the document's text, and the place that people cite."""

    document_id: str
    title: str
    uri: str
    page_start: int | None
    page_end: int | None
    headings: list[str]
    locator: dict[str, Any]
    char_start: int
    char_end: int


class FoundPassage(Source):
    """A passage; `quote` is the document's own text, and data."""

    number: int
    score: float
    attributes: dict[str, Any]
    quote: str


class SearchFound(BaseModel):
    """Passages, best first."""

    store: str
    query: str
    notice: str
    passages: list[FoundPassage]


class Cited(Source):
    """A quote that supports `answer[answer_start:answer_end]`."""

    id: str
    answer_start: int
    answer_end: int
    quote: str
    support: float
    verdict: Literal["quoted", "supported", "weak", "unsupported"]


class Answered(BaseModel):
    """An answer; `is_refusal` where the documents do not hold one."""

    store: str
    question: str
    answer: str
    is_refusal: bool
    finish_reason: str
    notice: str
    citations: list[Cited]


class ListedDocument(BaseModel):
    """A document without its text."""

    document_id: str
    title: str
    uri: str
    media_type: str
    size_bytes: int
    attributes: dict[str, Any]


class DocumentList(BaseModel):
    """A page of documents in the order of their URIs; `next` is the `after` of the next one."""

    store: str
    documents: list[ListedDocument]
    next: str | None


class DocumentText(BaseModel):
    """Characters `char_start` to `char_end` of `char_count`; `next_start` is where the rest begins."""

    document_id: str
    store: str
    title: str
    uri: str
    notice: str
    text: str
    char_start: int
    char_end: int
    char_count: int
    next_start: int | None


class ListedStore(BaseModel):
    """A store; its `name` and its `id` both name it."""

    id: str
    name: str
    is_default: bool


class StoreList(BaseModel):
    """The stores that are there for this key."""

    stores: list[ListedStore]
