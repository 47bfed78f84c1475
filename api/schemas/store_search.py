"""The body of POST /v1/vector_stores/ID/search, and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.numbers import Whole
from api.schemas.search_filters import FiltersBody
from api.schemas.store_files import AttributeValues, FileText, Strict
from rag.documents import SearchHit
from rag.ledger.conversations import storable

MAX_QUERIES: Final = 16
MAX_QUERY_CHARACTERS: Final = 10_000

QueryText = Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARACTERS), AfterValidator(storable)]
Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False, strict=True)]


HalfLife = Annotated[
    float | None,
    Field(ge=0, allow_inf_nan=False, description="the age at which newness counts half; 0 ignores dates"),
]


class HybridSearch(Strict):
    """What nearness and what words count for; only the proportion matters."""

    embedding_weight: Weight
    text_weight: Weight

    @property
    def dense_weight(self) -> float:
        """The share of nearness."""
        return self.embedding_weight / (self.embedding_weight + self.text_weight)

    @model_validator(mode="after")
    def _is_one_above_zero(self) -> HybridSearch:
        if not self.embedding_weight + self.text_weight:
            raise PydanticCustomError("weights", "one of embedding_weight and text_weight must be above 0")
        return self


class RankingOptions(Strict):
    """How hits are ranked. `hybrid_search` OpenAI knows in its file_search tool only."""

    ranker: Annotated[
        Literal["none", "auto", "default-2024-11-15"] | None, Field(description="none leaves the reranker out")
    ] = None
    score_threshold: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False, strict=True)] = None
    hybrid_search: HybridSearch | None = None
    recency_half_life_days: HalfLife = None


class StoreSearchRequest(Strict):
    """The request. Several queries are searched one by one, and each passage keeps its best score."""

    query: Annotated[
        QueryText | Annotated[list[QueryText], Field(min_length=1, max_length=MAX_QUERIES)],
        Field(examples=["How many days of leave are there?"]),
    ]
    filters: FiltersBody = None
    max_num_results: Annotated[int, Field(ge=1, le=50, strict=True), Whole] = 10
    ranking_options: RankingOptions | None = None
    rewrite_query: Annotated[
        bool | None, Field(strict=True, description="changes nothing: without a history a query already stands alone")
    ] = None

    @property
    def queries(self) -> list[str]:
        """Each once."""
        return list(dict.fromkeys([self.query] if isinstance(self.query, str) else self.query))


class FoundPassage(BaseModel):
    """A passage. What follows `content` is Quoth's own."""

    file_id: str
    filename: str
    score: Annotated[float, Field(ge=0, le=1)]
    attributes: AttributeValues
    content: list[FileText]
    chunk_id: str
    document_id: str
    char_start: int
    char_end: int
    page: int | None
    headings: list[str]


class FoundPassages(BaseModel):
    """All that were found, best first."""

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[FoundPassage]
    has_more: Literal[False] = False
    next_page: None = None


def found_passages(queries: Sequence[str], hits: Sequence[SearchHit]) -> dict[str, Any]:
    """Hits as JSON."""
    return {
        "object": "vector_store.search_results.page", "search_query": list(queries),
        "data": [_passage(hit) for hit in hits], "has_more": False, "next_page": None,
    }  # fmt: skip


def filename_of(uri: str) -> str:
    """The name of the file at a URI, without its folders."""
    return unquote(urlsplit(uri).path.rsplit("/", 1)[-1])


def _passage(hit: SearchHit) -> dict[str, Any]:
    chunk = hit.chunk
    return {
        "file_id": hit.file_id or chunk.document_id, "filename": filename_of(hit.uri),
        "score": min(1.0, max(0.0, hit.score)), "attributes": dict(hit.attributes),
        "content": [{"type": "text", "text": chunk.text}], "chunk_id": chunk.id, "document_id": chunk.document_id,
        "char_start": chunk.char_start, "char_end": chunk.char_end, "page": chunk.locator.page,
        "headings": list(chunk.headings),
    }  # fmt: skip
