"""Documents and their text, as responses carry them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from rag.attributes import file_id_of, of_user
from rag.documents import AttributeValue, Locator
from rag.ledger.documents import DocumentRecord
from rag.ledger.library import Passage, Place
from rag.ledger.stores import Store


class DocumentObject(BaseModel):
    """A document without its text."""

    id: str
    object: Literal["document"]
    store: str
    vector_store_id: str
    uri: str
    file_id: str | None
    title: str
    media_type: str
    size_bytes: int
    attributes: dict[str, AttributeValue]
    generation: str
    checked_at: int
    sha256: str


class DocumentList(BaseModel):
    """A page of documents."""

    object: Literal["list"]
    data: list[DocumentObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class CitedSpan(BaseModel):
    """A cited span: its words, its offsets in the whole text, and where people look it up."""

    quote: str
    char_start: int
    char_end: int
    page_start: int | None
    page_end: int | None
    headings: list[str]
    locator: Locator


class DocumentText(DocumentObject):
    """A document and a part of its text; `next_start` is where the next part begins."""

    text: str
    char_start: int
    char_end: int
    char_count: int
    next_start: int | None
    span: CitedSpan | None


def document_object(record: DocumentRecord, store: Store) -> dict[str, Any]:
    """A document without its text."""
    return {
        "id": record.id, "object": "document", "store": store.title or store.name, "vector_store_id": store.public_id,
        "uri": record.uri, "file_id": file_id_of(record.uri), "title": record.title, "media_type": record.media_type,
        "size_bytes": record.size_bytes, "attributes": of_user(record.attributes), "generation": record.generation,
        "checked_at": int(record.checked_ns // 1_000_000_000), "sha256": record.source_sha256,
    }  # fmt: skip


def text_fields(passage: Passage) -> dict[str, Any]:
    """A part of a document's text, and where the next one begins."""
    has_more = passage.char_end < passage.char_count
    return {
        "text": passage.text, "char_start": passage.char_start, "char_end": passage.char_end,
        "char_count": passage.char_count, "next_start": passage.char_end if has_more else None,
    }  # fmt: skip


def span_object(passage: Passage, start: int, end: int, place: Place | None) -> dict[str, Any]:
    """A cited span: its words, its offsets in the whole text, and where people look it up."""
    locator = place.locator if place else None
    return {
        "quote": passage.text[start - passage.char_start : end - passage.char_start], "char_start": start,
        "char_end": end, "page_start": locator.page if locator else None,
        "page_end": (locator.page_end or locator.page) if locator else None,
        "headings": list(place.headings) if place else [], "locator": locator.as_dict() if locator else {},
    }  # fmt: skip
