"""The body of POST /v1/search/explain."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.numbers import Whole
from api.schemas.search_filters import FiltersBody
from rag.expecting import Expectation
from rag.explaining import Candidacy
from rag.searching import MAX_QUESTION_CHARACTERS

MAX_STORES = 10
MAX_GROUPS = 64
MAX_CANDIDACIES = 2000

Name = Annotated[str, Field(min_length=1, max_length=256)]


class ExplainRequest(BaseModel):
    """A search that is to be explained."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=MAX_QUESTION_CHARACTERS, examples=["Who books trains?"])]
    stores: Annotated[
        list[Name] | None,
        Field(min_length=1, max_length=MAX_STORES, description="names or ids; without them the default store"),
    ] = None
    k: Annotated[int, Field(ge=1, le=100, strict=True, description="passages that are returned"), Whole] | None = None
    filters: FiltersBody = None
    groups: Annotated[
        list[Name] | None,
        Field(max_length=MAX_GROUPS, description="whose view it is; without them, that of the key"),
    ] = None
    per_document: Annotated[
        int | None, Field(ge=0, le=100, description="passages of one document at most; 0 is no limit")
    ] = None
    diversity: Annotated[
        float | None,
        Field(ge=0, le=1, allow_inf_nan=False, description="how much a passage loses by being like a better one"),
    ] = None
    expand_tokens: Annotated[
        int | None, Field(ge=0, le=100_000, description="of what stands around the passages; 0 is nothing")
    ] = None
    recency_half_life_days: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False, description="the age at which newness counts half; 0 ignores dates"),
    ] = None
    expected: Annotated[
        str | None,
        Field(min_length=1, max_length=4000, description="a document's id or URI, its upload's id, or a file's name"),
    ] = None
    limit: Annotated[
        int, Field(ge=1, le=MAX_CANDIDACIES, strict=True, description="candidates that are told of"), Whole
    ] = 50


class SearchExplained(BaseModel):
    """A search, and how it came out."""

    object: Literal["search.explanation"]
    question: str
    terms: Annotated[list[str], Field(description="words of the question that the word index looks for")]
    k: int
    candidates_per_list: int
    fusion: str
    milliseconds: Annotated[dict[str, float], Field(description="of each stage")]
    candidate_count: int
    candidates: Annotated[
        list[Candidacy],
        Field(description="the returned, those around them, those passed over, those below k, and the rest"),
    ]
    expected: Expectation | None
